"""Everything that goes over SSH, and what it finds there; all of paramiko lives here."""
