"""A data set whose augmentation is a function of seed, view and index alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from torch import Tensor
from torch.utils.data import Sampler

from mmkd_logit.logit_store import LogitStore, digest_of_image, plain_settings
from mmkd_logit.registry import DATA_SAMPLERS, DATASETS
from mmkd_logit.rng import kept_rng, seed_cpu
from mmkd_logit.views import IN_SAMPLE

# What a sampler adds to an index for each pass over the data set before it.
_PASS = 2**40


@DATASETS.register_module()
class ViewDataset:
    """Shows views of another data set's images, of those of a teacher's store if named.

    Python's, NumPy's and torch's generators are seeded before the pipeline makes an
    image, and put back after the batch, in whichever process it is made. A key is the
    image's index plus 2**40 for each pass over the data set before, as
    :class:`ViewSampler` gives it.

    Args:
        dataset (dict | object): Config of the data set, or the data set.
        cache (str, optional): Folder of a :class:`mmkd_logit.logit_store.LogitStore`.
            Defaults to None.
        views (int, optional): Number of views. Defaults to None, that of the store.
        view_seed (int, optional): Seed of the views. Defaults to None, that of the
            store, or 0.
        check_images (bool): Whether each image is compared with the one that the
            stored logits are of. Defaults to True.

    Raises:
        FileNotFoundError: If there is no such store.
        ValueError: If there is neither a store nor a number of views, or the store is
            of another data set, pipeline, seed, number of views or order of classes.
    """

    def __init__(
        self,
        dataset: Any,
        cache: str | None = None,
        views: int | None = None,
        view_seed: int | None = None,
        check_images: bool = True,
    ) -> None:
        self.store = None if cache is None else LogitStore(cache)
        settings = plain_settings(dataset) if isinstance(dataset, dict) else None
        if isinstance(dataset, dict):
            dataset = MMENGINE_DATASETS.build(dataset)
        self.dataset = dataset
        self.check_images = check_images
        self.settings = settings
        if self.store is not None:
            here = {**self.describe(), 'views': views, 'seed': view_seed}
            self.store.compare({k: v for k, v in here.items() if v is not None})
            views, view_seed = self.store.views, self.store.seed
        if views is None:
            raise ValueError('ViewDataset needs views, their number, or a cache.')
        self.views = views
        self.seed = view_seed or 0

    def describe(self) -> dict[str, Any]:
        """What the header of a store says of the data set."""
        self.full_init()
        classes = self.metainfo.get('classes')
        return {
            'dataset': self.settings,
            'images': len(self),
            'classes': None if classes is None else list(classes),
        }

    @property
    def metainfo(self) -> dict:
        """That of the data set."""
        return getattr(self.dataset, 'metainfo', {})

    def full_init(self) -> None:
        """Load the annotations, if they are not loaded yet."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[int]) -> list[dict[str, Any]]:
        """A batch: to save and restore generators takes longer than to seed them."""
        with kept_rng():
            return [self._item(*divmod(key, _PASS)) for key in keys]

    def _item(self, passes: int, index: int) -> dict[str, Any]:
        view = passes % self.views
        seed_cpu(self.seed, view, index)
        data = self.dataset[index]
        if self.store is not None:
            image = image_of(data) if self.check_images else None
            # This also brings the row into memory, for the process that trains.
            self.store.verify(view, index, image)
        sample = data['data_samples']
        sample.set_field((view, index), IN_SAMPLE, field_type='metainfo')
        return data


def image_of(data: dict[str, Any]) -> int:
    """Digest of the image that a pipeline has packed.

    Raises:
        TypeError: If it has packed anything but one tensor.
    """
    inputs = data['inputs']
    if not isinstance(inputs, Tensor):
        raise TypeError(
            'Stored logits are of one image each, a tensor, but the pipeline packs '
            f'inputs of type {type(inputs).__name__}.'
        )
    return digest_of_image(inputs)


def view_key(view: int, index: int) -> int:
    """What a :class:`ViewDataset` takes for an image in a view."""
    return view * _PASS + index


@DATA_SAMPLERS.register_module()
class ViewSampler(Sampler):
    """Adds the pass over the data set to the indices of another sampler.

    Worker processes learn it from the index, be they persistent or ahead. The pass of
    an ``InfiniteSampler`` is the place of the index in the stream of all processes,
    divided by the number of images; of other samplers it is their ``epoch``. Both go
    on where they were when a run is resumed.

    Args:
        dataset (Sized): The data set.
        sampler (dict): Config of the other sampler.
        seed (int, optional): Seed for the order of the images. Defaults to None.

    Raises:
        ValueError: If the sampler has no ``epoch``, or shows an image several times in
            one.
    """

    def __init__(self, dataset: Any, sampler: dict, seed: int | None = None) -> None:
        given = dict(dataset=dataset, seed=seed)
        self.sampler = MMENGINE_DATA_SAMPLERS.build(sampler, default_args=given)
        name = type(self.sampler).__name__
        infinite = isinstance(self.sampler, InfiniteSampler)
        if name == 'RepeatAugSampler' or not (
            infinite or hasattr(self.sampler, 'epoch')
        ):
            raise ValueError(
                'teacher.cache and teacher.views show an image once an epoch, in the '
                f'view of that epoch, which {name} does not do. Use DefaultSampler, or '
                'InfiniteSampler in a loop over iterations.'
            )
        self._drawn = 0
        self._infinite = infinite
        if hasattr(self.sampler, 'skip'):  # mmengine looks for it
            self.skip = self._skip

    def __iter__(self) -> Iterator[int]:
        for index in self.sampler:
            yield view_key(self._passes(), index)

    def _passes(self) -> int:
        if not self._infinite:
            return self.sampler.epoch
        place = self._drawn * self.sampler.world_size + self.sampler.rank
        self._drawn += 1
        return place // self.sampler.size

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on, from which order and view follow."""
        self.sampler.set_epoch(epoch)

    def _skip(self, num_samples: int) -> None:
        self.sampler.skip(num_samples)
        self._drawn = num_samples
