# Everything but the model: numbers of two digits in noise. The noise is chosen for the
# plain student to reach about 70 %, as small students do on CIFAR-100.
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
