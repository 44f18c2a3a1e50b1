"""Writes the tree of a commit in which some files have other bytes.

Only the folders on the way to these files are read and written, by a number of
processes that depends on how deep they lie: neither on how many files there are nor on
what else the commit holds.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

Folder = tuple[bytes, ...]  # the names on the way to it; () is the top one
Entries = dict[bytes, tuple[bytes, str]]  # by name: mode and object
Git = Callable[[tuple[str, ...], bytes], bytes]  # arguments and input to output

FILE, FOLDER = b"100644", b"40000"
KINDS = {FOLDER: b"tree", b"160000": b"commit"}  # by mode; the others are files
REFUSED = {b"", b".", b"..", b".git"}  # no name in a tree


class PathError(ValueError):
    """A commit cannot have a file of that path: one sentence."""


def write(files: Mapping[str, bytes], parent: str | None, git: Git) -> str:
    """Return the tree of ``parent`` with these files, by path, in it.

    Raises:
        PathError: a path is not one inside a folder, or a folder has its name.
    """
    blobs = dict(zip(map(_split, files), _blobs(files.values(), git), strict=True))
    folders = _entries_of(blobs, parent, git)
    for path, blob in blobs.items():
        _put(folders, path, FILE, blob)
    tree = ""
    for depth in range(max(map(len, folders)), -1, -1):
        level = [folder for folder in folders if len(folder) == depth]
        for folder, tree in zip(level, _trees(level, folders, git), strict=True):
            if folder:
                _put(folders, folder, FOLDER, tree)
    return tree


def _split(path: str) -> Folder:
    """Return the names of a path."""
    names = tuple(path.encode("utf-8", "surrogateescape").split(b"/"))
    if "\0" in path or REFUSED.intersection(name.lower() for name in names):
        raise PathError(f"{path!r} cannot be the path of a file in a commit")
    return names


def _blobs(contents: Iterable[bytes], git: Git) -> list[str]:
    """Write the bytes of files as objects, by one process."""
    with TemporaryDirectory() as name:
        paths = []
        for number, content in enumerate(contents):
            paths.append(Path(name, str(number)))
            paths[-1].write_bytes(content)
        request = "".join(f"{path}\n" for path in paths).encode()
        command = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        return git(command, request).decode().split()


def _entries_of(
    paths: Iterable[Folder], parent: str | None, git: Git
) -> dict[Folder, Entries]:
    """Return the entries of each folder on the way to these paths; {} of a new one."""
    on_the_way = {path[:depth] for path in paths for depth in range(len(path))} | {()}
    objects: dict[Folder, str] = {(): f"{parent}^{{tree}}"} if parent else {}
    folders = dict[Folder, Entries]()
    for depth in range(max(map(len, on_the_way)) + 1):
        level = sorted(folder for folder in on_the_way if len(folder) == depth)
        for folder in level if depth else ():
            mode, tree = folders[folder[:-1]].get(folder[-1], (FOLDER, ""))
            if mode != FOLDER:
                path = b"/".join(folder).decode(errors="replace")
                raise PathError(f"{path} is a file, and no folder for another one")
            if tree:
                objects[folder] = tree
        existing = [folder for folder in level if folder in objects]
        entries = (
            _entries([objects[folder] for folder in existing], git) if existing else []
        )
        folders |= {folder: {} for folder in level}
        folders |= dict(zip(existing, entries, strict=True))
    return folders


def _entries(trees: list[str], git: Git) -> list[Entries]:
    """Return what trees hold, read by one process."""
    request = "".join(f"{tree}\n" for tree in trees).encode()
    data, start, entries = git(("cat-file", "--batch"), request), 0, []
    for _ in trees:
        end = data.index(b"\n", start)
        name, _, size = data[start:end].split()
        start = end + 1
        entries.append(_parse(data[start : start + int(size)], len(name) // 2))
        start += int(size) + 1
    return entries


def _parse(tree: bytes, width: int) -> Entries:
    """Return the entries of a tree; an object's name takes ``width`` bytes."""
    entries, start = Entries(), 0
    while start < len(tree):
        end = tree.index(b"\0", start)
        mode, _, name = tree[start:end].partition(b" ")
        start = end + 1 + width
        entries[name] = mode, tree[end + 1 : start].hex()
    return entries


def _put(folders: dict[Folder, Entries], path: Folder, mode: bytes, name: str) -> None:
    """Set an entry of a folder that was read."""
    before, _ = folders[path[:-1]].get(path[-1], (mode, ""))
    if mode == FILE and before == FOLDER:
        text = b"/".join(path).decode(errors="replace")
        raise PathError(f"{text} is a folder, and no file can have its name")
    folders[path[:-1]][path[-1]] = mode, name


def _trees(level: list[Folder], folders: dict[Folder, Entries], git: Git) -> list[str]:
    """Write folders as trees, by one process; their objects exist."""
    lines = []
    for folder in level:
        for name, (mode, object_) in folders[folder].items():
            kind = KINDS.get(mode, b"blob")
            lines.append(b"%s %s %s\t%s\0" % (mode, kind, object_.encode(), name))
        lines.append(b"\0")  # the tree's end
    command = ("mktree", "--batch", "-z", "--missing")
    return git(command, b"".join(lines)).decode().split()
