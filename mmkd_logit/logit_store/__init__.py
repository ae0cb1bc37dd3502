"""A teacher's logits on disk: one file per view, and a header that describes them."""

from mmkd_logit.logit_store.header import plain_settings
from mmkd_logit.logit_store.records import LogitRecord, TopRows, digest_of_image
from mmkd_logit.logit_store.store import LogitStore
from mmkd_logit.logit_store.writer import StoreWriter

__all__ = [
    'LogitRecord',
    'LogitStore',
    'StoreWriter',
    'TopRows',
    'digest_of_image',
    'plain_settings',
]
