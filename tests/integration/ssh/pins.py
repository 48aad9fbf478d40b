"""Host keys kept in a dictionary, where the rental store would keep them in SQLite."""


class Pins:
    def __init__(self) -> None:
        self.keys: dict[tuple[str, str], str] = {}

    def pinned(self, instance: str, generation: str) -> str | None:
        return self.keys.get((instance, generation))

    def pin(self, instance: str, generation: str, key: str) -> None:
        self.keys[instance, generation] = key

    def unpin(self, instance: str) -> None:
        self.keys = {name: key for name, key in self.keys.items() if name[0] != instance}
