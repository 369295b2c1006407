"""Segment objects of one image: a click, a correction, and several boxes at once."""

from skimage import data

from sam2_plugins.core import ImagePredictor, load_model

model = load_model()  # "nano", whose weights come with the package
predictor = ImagePredictor(model)
image = data.coins()  # (H, W) uint8; any real dtype and number of channels will do
predictor.set_image(image)

# One click may mean several things: of three candidates, `best` is the one the model trusts most.
coin = predictor.predict(points=[[50, 55]], point_labels=[1])
print(f"one click: {coin.best.sum()} pixels, predicted IoU {coin.predicted_iou.max():.2f}")

# A second click, off the object, together with what came back.
better = predictor.predict(
    points=[[50, 55], [85, 80]],
    point_labels=[1, 0],
    mask_logits=coin.low_res_logits[0],
    multimask=False,
)
print(f"corrected: {better.best.sum()} pixels")

# Many objects in one batch.
boxes = [[18, 25, 82, 85], [95, 30, 150, 85], [160, 25, 210, 75]]
for box, prediction in zip(boxes, predictor.predict_boxes(boxes), strict=True):
    print(f"box {box}: {prediction.best.sum()} pixels")
