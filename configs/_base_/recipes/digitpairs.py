# Everything but the model: numbers of two digits in noise. Learning rate and schedule
# suit the plain student on the validation split; docs/benchmark.md says how.
_base_ = './digits.py'
data_preprocessor = dict(num_classes=100)
train_pipeline = [
    dict(type='RandomCrop', crop_size=(8, 16), padding=1),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    dataset=dict(type='mmkd_logit.DigitPairs', pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(type='mmkd_logit.DigitPairs'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=40, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.2))
param_scheduler = dict(milestones=[20, 30, 36])
