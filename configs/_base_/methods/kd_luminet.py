# LumiNet: KD of logits standardized per class, with what its authors chose for
# resnet32x4 to resnet8x4 on CIFAR-100. Their factor of 33^2 has no temperature in it.
method = dict(
    task_loss_weight=2.0,
    losses=dict(
        kd=dict(
            type='KDLoss',
            tau=4.0,
            loss_weight=33.0**2 / 4.0**2,
            transforms=['standardize_classes'],
        )
    ),
)
custom_hooks = [dict(type='mmkd_logit.LossWeightHook', warmup=20)]
