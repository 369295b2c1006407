"""The smallest network that does everything."""

from sam2_plugins.core.config import ModelConfig

SMALLEST = ModelConfig(
    name="tiny",
    version="2.1",
    embed_dim=8,
    num_heads=1,
    stages=(1, 1, 2, 1),
    global_blocks=(2,),
    window_sizes=(4, 2, 4, 2),
    image_size=64,
    model_dim=32,
    memory_dim=16,
    feedforward_dim=32,
    decoder_heads=2,
    iou_hidden_dim=16,
    memory_attention_layers=1,
    fuser_layers=1,
)
