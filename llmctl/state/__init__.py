"""What is rented: written before money is spent, kept until it is proved gone."""
