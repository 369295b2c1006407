"""Find every object of an image without prompts, and measure them."""

from skimage import data

from sam2_plugins.core import MaskGenerator, load_model

generator = MaskGenerator(load_model(), points_per_side=16, min_predicted_iou=0.7, min_area=50)
masks = generator.generate(data.coins())
print(f"{len(masks)} objects")
for mask in masks[:5]:
    x0, y0, x1, y1 = mask.box
    print(
        f"x {x0}-{x1}, y {y0}-{y1}: {mask.area} pixels, "
        f"predicted IoU {mask.predicted_iou:.2f}, stability {mask.stability:.2f}"
    )
