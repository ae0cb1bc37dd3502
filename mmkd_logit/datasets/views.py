"""A dataset whose augmentation is a function of seed, view and index alone."""

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

# What a sampler adds to an index for each earlier pass over the dataset.
_PASS = 2**40


@DATASETS.register_module()
class ViewDataset:
    """Wraps a dataset so that its augmentation repeats in each view of an image.

    With ``cache``, the views are those of a teacher's stored logits. Python's, NumPy's
    and torch's generators are seeded before the pipeline makes an image, and restored
    after the batch, in whichever process it is made. A key is the image's index plus
    2**40 for each earlier pass over the dataset, as :class:`ViewSampler` yields it.

    Args:
        dataset (dict | object): Config of the dataset, or the dataset itself.
        cache (str, optional): Folder of a :class:`mmkd_logit.logit_store.LogitStore`.
            Defaults to None.
        views (int, optional): Number of views. Defaults to None: that of the store.
        view_seed (int, optional): Seed of the views. Defaults to None: that of the
            store, or 0.
        check_images (bool): Whether to check that each image is the one whose logits
            are stored. Defaults to True.

    Raises:
        FileNotFoundError: If there is no such store.
        ValueError: If there is neither a store nor a number of views, or the store is
            for another dataset, pipeline, seed, number of views or class order.
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
            raise ValueError('ViewDataset needs either a number of views or a cache.')
        self.views = views
        self.seed = view_seed or 0

    def describe(self) -> dict[str, Any]:
        """Describe the dataset as the header of a store does."""
        self.full_init()
        classes = self.metainfo.get('classes')
        return {
            'dataset': self.settings,
            'images': len(self),
            'classes': None if classes is None else list(classes),
        }

    @property
    def metainfo(self) -> dict:
        """The ``metainfo`` of the wrapped dataset."""
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
        """Return a batch; saving and restoring generators takes longer than seeding."""
        with kept_rng():
            return [self._item(*divmod(key, _PASS)) for key in keys]

    def _item(self, passes: int, index: int) -> dict[str, Any]:
        view = passes % self.views
        seed_cpu(self.seed, view, index)
        data: dict[str, Any] = self.dataset[index]
        if self.store is not None:
            image = image_of(data) if self.check_images else None
            # This also brings the row into memory, for the process that trains.
            self.store.verify(view, index, image)
        sample = data.get('data_samples')
        if sample is None:
            raise ValueError(
                'teacher.cache and teacher.views mark the data samples, but the '
                f'pipeline gives {", ".join(data)} alone. Let it end with PackInputs '
                'or PackSegInputs.'
            )
        sample.set_field((view, index), IN_SAMPLE, field_type='metainfo')
        return data


def image_of(data: dict[str, Any]) -> int:
    """Compute the digest of the image that a pipeline has packed.

    Raises:
        TypeError: If it has packed anything other than one tensor.
    """
    inputs = data['inputs']
    if not isinstance(inputs, Tensor):
        raise TypeError(
            'Stored logits belong to one image tensor each, but the pipeline packs '
            f'inputs of type {type(inputs).__name__}.'
        )
    return digest_of_image(inputs)


def view_key(view: int, index: int) -> int:
    """Return the key of an image in a view, for a :class:`ViewDataset`."""
    return view * _PASS + index


@DATA_SAMPLERS.register_module()
class ViewSampler(Sampler):
    """Adds the pass over the dataset to the indices of another sampler.

    Worker processes read the pass from the index, even if they are persistent or
    prefetch. The pass of an ``InfiniteSampler`` is the position of the index in the
    stream of all processes, divided by the number of images; that of other samplers is
    their ``epoch``. Both continue where they were when a run is resumed.

    Args:
        dataset (Sized): The dataset.
        sampler (dict): Config of the wrapped sampler.
        seed (int, optional): Seed for the order of the images. Defaults to None.

    Raises:
        ValueError: If the sampler has no ``epoch``, or yields an image several times in
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
                'teacher.cache and teacher.views need each image once per epoch, in '
                f"that epoch's view, which {name} does not do. Use DefaultSampler, or "
                'InfiniteSampler with a training loop that counts iterations.'
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
        """Pass on the epoch, which determines order and view."""
        self.sampler.set_epoch(epoch)

    def _skip(self, num_samples: int) -> None:
        self.sampler.skip(num_samples)
        self._drawn = num_samples
