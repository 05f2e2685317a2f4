"""A file of facts, looked over before it is read: it may come from a stranger and claim anything."""

import h5py
import numpy as np

from clntk import limits

_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_PLAIN = "biufS"  # kinds of numbers and bytes


def refuse_hostile(content: bytes) -> None:
    """Check that a file with this content holds what it says, in itself, and no more than a file of its size can hold.

    Arrays that lie in other files, or are put together from them, could read what the run's folder does not hold; empty
    ones of any shape would fill the memory.

    Raises:
        OSError: if it is no HDF5.
        ValueError: with what was found.
    """
    with h5py.File.in_memory(content) as file:
        _Look(limits.DEFLATED * len(content) + limits.SLACK).at(file, 0)


class _Look:
    """What is left of what the file may claim, in bytes."""

    def __init__(self, budget: int) -> None:
        self.budget, self.labels = budget, limits.STRINGS

    def at(self, group: h5py.Group, depth: int) -> None:
        if depth > limits.DEPTH:
            raise ValueError(f"expected at most {limits.DEPTH} levels of groups, found more")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{group.name}: expected data, found {name!r} to be a link to another place")
            self._take(len(name))
            found = group[name]
            if isinstance(found, h5py.Group):
                self.at(found, depth + 1)
            elif isinstance(found, h5py.Dataset):
                self._array(found)
            else:
                raise ValueError(f"{group.name}: expected data, found {name!r} to be a type")

    def _array(self, array: h5py.Dataset) -> None:
        if array.external or array.is_virtual:
            raise ValueError(f"{array.name}: expected data, found it to lie in another file")
        layout = array.id.get_create_plist()
        if not {layout.get_filter(i)[0] for i in range(layout.get_nfilters())} <= _FILTERS:
            raise ValueError(f"{array.name}: expected zlib or no compression, found another filter")
        if array.chunks:
            self._fits(int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize, array.name)
        if h5py.check_string_dtype(array.dtype) is not None and array.dtype.kind == "O":
            self._texts(array)
        elif array.dtype.kind in _PLAIN:
            self._take(int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize, array.name)
        else:
            raise ValueError(f"{array.name}: expected numbers or text, found {array.dtype}")

    def _texts(self, array: h5py.Dataset) -> None:
        """Each text by itself: any number of them can be one and the same long one."""
        count = int(np.prod(array.shape, dtype=object))
        self.labels -= count
        if self.labels < 0:
            raise ValueError(f"{array.name}: expected at most {limits.STRINGS} labels, found more")
        for place in np.ndindex(array.shape):
            self._take(len(array[place]), array.name)

    def _take(self, size: int, name: str = "names") -> None:
        self._fits(size, name)
        self.budget -= size

    def _fits(self, size: int, name: str) -> None:
        if size > self.budget:
            raise ValueError(f"{name}: claims more bytes than a file of this size can hold")
