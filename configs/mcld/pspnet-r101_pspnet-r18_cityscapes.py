_base_ = [
    '../_base_/pairs/pspnet-r101_pspnet-r18_cityscapes.py',
    '../_base_/methods/mcld_seg.py',
]
model = dict(
    _delete_=True,
    type='mmkd_logit.LogitDistiller',
    student=_base_.model,
    teacher=_base_.teacher,
    **_base_.method,
)
# The queue's entries of a pixel's own image are masked, by the image's index.
_pack = dict(type='PackSegInputs', meta_keys=('img_path', 'seg_map_path', 'sample_idx'))
train_dataloader = dict(dataset=dict(pipeline=[*_base_.train_pipeline[:-1], _pack]))
