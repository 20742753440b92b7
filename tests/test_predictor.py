"""Single clicks from Python: the same masks as the click loop, undo to the bit, clear refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecc_jax.inference.crops import Zoom
from ecc_jax.inference.focal import Focal
from ecc_jax.inference.pipelines import FULL_FRAME, InferenceOptions, make_predict
from ecc_jax.inference.segmenter import Segmenter
from ecc_jax.interaction import Scene, rollout
from ecc_jax.models.build import build, init_variables
from ecc_jax.predictor import InteractivePredictor
from ecc_jax.types import Prediction

SHAPE = (36, 44)
ZOOM = InferenceOptions("zoom_in", flip=True, zoom=Zoom(target=32, min_crop=12))
FOCAL = InferenceOptions("focalclick", focal=Focal(size=32))


class Blurry:
    """Reacts to image, disks and previous mask, and counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def apply(self, variables, image, guidance, prev_mask, *, train=False):
        self.traces += 1
        score = guidance[..., :1] - 1.2 * guidance[..., 1:] + 0.8 * prev_mask
        score = variables["gain"] * (score + 0.6 * image[..., :1] - 0.85)
        return Prediction(score, score, score)


VARIABLES = {"gain": np.float32(4.0)}


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)


@pytest.fixture
def predictor(image):
    made = InteractivePredictor(Blurry(), VARIABLES, options=ZOOM, capacity=6)
    made.set_image(image)
    return made


def replay(model, variables, options, image, target, num_clicks):
    """Records a rollout, then clicks the same by hand; yields both masks after each click."""
    predict = make_predict(Segmenter(model), variables, options)
    keep = tuple(range(1, num_clicks + 1))
    run = jax.jit(lambda scene: rollout(scene, predict, num_clicks=num_clicks, keep=keep))
    keys = jax.random.split(jax.random.key(2), 1)
    scene = Scene(keys, jnp.asarray(image)[None, ..., None], jnp.asarray(target)[None])
    record = run(scene)
    assert record.clicked.all()
    predictor = InteractivePredictor(model, variables, options=options, capacity=num_clicks)
    predictor.set_image(image)
    for i in range(num_clicks):
        y, x = record.clicks.yx[0, i].tolist()
        sign = bool(record.clicks.is_positive[0, i])
        mask = predictor.add_click(y, x, float(record.clicks.radius[0, i]), sign)
        yield mask, np.asarray(record.masks[0, i])
    np.testing.assert_allclose(predictor.prob, record.session.prob[0, ..., 0], atol=1e-5)


def lesion():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (np.hypot(y - 14, 0.6 * (x - 18)) < 6) | (np.hypot(y - 26, x - 30) < 3)


@pytest.mark.parametrize("options", [FULL_FRAME, ZOOM], ids=["full_frame", "zoom_in"])
def test_replayed_rollout_gives_the_same_masks(image, options):
    masks = list(replay(Blurry(), VARIABLES, options, image, lesion(), 5))
    assert len({mask.tobytes() for mask, _ in masks}) > 2
    for mask, recorded in masks:
        np.testing.assert_array_equal(mask, recorded)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("ritm_tiny", ZOOM), ("focalclick_tiny", FOCAL)])
def test_replayed_rollout_of_a_real_network_gives_the_same_masks(image, name, options):
    model = build(name)
    variables = init_variables(model, 0, fusion_scale=1.0)
    for mask, recorded in replay(model, variables, options, image, lesion(), 3):
        assert (mask != recorded).sum() <= 2  # rounding at the threshold


def test_one_compilation_for_all_clicks_and_slices(image):
    model = Blurry()
    predictor = InteractivePredictor(model, VARIABLES, options=ZOOM)
    predictor.set_image(image)
    predictor.add_click(10, 12, 4.0)
    traced = model.traces
    for i in range(4):
        predictor.add_click(5 + i, 30, 2.5, is_positive=i % 2 == 0)
    predictor.set_image(1 - image)
    predictor.add_click(20.5, 7.25, 3)
    assert model.traces == traced and predictor._transition._cache_size() == 1


def test_undo_and_redo_restore_every_byte(predictor):
    probs = [predictor.prob.tobytes()]
    for i in range(4):
        predictor.add_click(8 + 5 * i, 10 + 6 * i, 3.0 + i, is_positive=i != 2)
        probs.append(predictor.prob.tobytes())
    assert len(set(probs)) == 5 and predictor.num_clicks == 4
    for i in reversed(range(4)):
        mask = predictor.undo()
        assert predictor.prob.tobytes() == probs[i] and predictor.num_clicks == i
        np.testing.assert_array_equal(mask, predictor.prob > 0.5)
    for i in range(1, 5):
        predictor.redo()
        assert predictor.prob.tobytes() == probs[i]
    predictor.undo()
    # The clicks themselves went too: the next one answers as if the fourth had never been.
    predictor.add_click(23, 28, 6.0)
    assert predictor.prob.tobytes() == probs[4]
    with pytest.raises(ValueError, match="no click to redo"):
        predictor.redo()


def test_reset_and_new_images_start_from_nothing(predictor, image):
    first = predictor.add_click(10, 12, 4.0).copy()
    predictor.add_click(30, 30, 4.0)
    predictor.reset()
    assert predictor.num_clicks == 0 and not predictor.mask.any()
    np.testing.assert_array_equal(predictor.add_click(10, 12, 4.0), first)
    predictor.set_image(image[:20, :30])
    assert predictor.mask.shape == (20, 30) and predictor.num_clicks == 0
    with pytest.raises(ValueError, match="no click to undo"):
        predictor.undo()


def test_hounsfield_units_are_windowed(image):
    masks = []
    for picture, window in ((image, None), (image * 400 - 150, (-150, 250))):
        predictor = InteractivePredictor(Blurry(), VARIABLES)
        predictor.set_image(picture, window_hu=window)
        masks.append(predictor.add_click(10, 12, 4.0))
    np.testing.assert_array_equal(*masks)


def test_network_sees_the_disks_that_were_clicked():
    seen = []

    class Recorder(Blurry):
        def apply(self, variables, image, guidance, prev_mask, *, train=False):
            jax.debug.callback(lambda maps: seen.append(np.asarray(maps)), guidance)
            return super().apply(variables, image, guidance, prev_mask, train=train)

    plain = InteractivePredictor(Recorder(), VARIABLES, capacity=3)
    plain.set_image(np.zeros(SHAPE))
    plain.add_click(10, 12, 4.0)
    plain.add_click(20, 30, 2.0, is_positive=False)
    jax.effects_barrier()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    np.testing.assert_array_equal(seen[1][0, ..., 0], np.hypot(y - 10, x - 12) <= 4)
    np.testing.assert_array_equal(seen[1][0, ..., 1], np.hypot(y - 20, x - 30) <= 2)


@pytest.mark.parametrize(
    ("click", "message"),
    [
        ((-0.1, 5, 3.0), "inside the image, 0 <= y <= 35 and 0 <= x <= 43, got y=-0.1, x=5"),
        ((5, 43.5, 3.0), "inside the image"),
        ((float("nan"), 5, 3.0), "inside the image"),
        ((5, 5, 0.0), "positive, finite radius in pixels, got 0.0"),
        ((5, 5, -2.0), "positive, finite radius"),
        ((5, 5, float("inf")), "positive, finite radius"),
        ((5, 5, float("nan")), "positive, finite radius"),
    ],
)
def test_bad_clicks_are_refused_and_change_nothing(predictor, click, message):
    predictor.add_click(10, 12, 4.0)
    before = predictor.prob.tobytes()
    with pytest.raises(ValueError, match=message):
        predictor.add_click(*click)
    assert predictor.num_clicks == 1 and predictor.prob.tobytes() == before


def test_too_many_clicks_are_refused_until_one_is_undone(predictor):
    for _ in range(6):
        predictor.add_click(35, 43, 1.0)
    with pytest.raises(ValueError, match="at most 6 clicks; undo one"):
        predictor.add_click(10, 12, 4.0)
    predictor.undo()
    predictor.add_click(10, 12, 4.0)


@pytest.mark.parametrize(
    ("picture", "window", "message"),
    [
        (np.zeros((4, 5, 3)), None, r"\[h w\], got shape \[4, 5, 3\]"),
        (np.zeros((0, 5)), None, r"got shape \[0, 5\]"),
        (np.full((4, 5), np.nan), None, "not finite"),
        (np.full((4, 5), -300.0), None, "pass window_hu"),
        (np.zeros((4, 5)), (250, -150), "low < high, got"),
        (np.zeros((4, 5)), (float("nan"), 1), "low < high"),
    ],
)
def test_bad_images_are_refused_and_the_former_stays(predictor, picture, window, message):
    predictor.add_click(10, 12, 4.0)
    with pytest.raises(ValueError, match=message):
        predictor.set_image(picture, window_hu=window)
    assert predictor.mask.shape == SHAPE and predictor.num_clicks == 1


def test_nothing_works_without_an_image():
    empty = InteractivePredictor(Blurry(), VARIABLES)
    for call in (lambda: empty.add_click(1, 1, 1), empty.undo, empty.redo, empty.reset):
        with pytest.raises(ValueError, match="call set_image first"):
            call()
    with pytest.raises(ValueError, match="call set_image first"):
        empty.mask
    assert empty.num_clicks == 0


PAIRS = st.tuples(st.floats(-3000, 2990, allow_nan=False), st.floats(1, 5000, allow_nan=False)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


@given(PAIRS)
def test_a_window_means_the_same_however_it_is_handed_over(pair):
    pair = tuple(np.asarray(pair, np.float32).tolist())  # what every form below can hold
    picture = np.linspace(-4000, 4000, 12).reshape(3, 4)
    predictor = InteractivePredictor(Blurry(), VARIABLES)
    seen = set()
    for window in (
        pair,
        list(pair),
        np.asarray(pair, np.float32),
        np.asarray(pair, np.float64),
        jnp.asarray(pair),
        tuple(np.float32(end) for end in pair),
        [jnp.asarray(end) for end in pair],
    ):
        predictor.set_image(picture, window_hu=window)
        seen.add(np.asarray(predictor._image).tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize(
    "window",
    [
        (-150,),
        (-150, 0, 250),
        (),
        np.zeros((1, 2)),
        np.float32(250),
        ("-150", "250"),
        "ab",
        (None, 250),
        (-150, float("inf")),
        (False, True),
        (-150, 250 + 0j),
        (-150, 10**400),
        {-150, 250},
        {"low": -150, "high": 250},
        250,
    ],
    ids=repr,
)
def test_what_is_no_window_is_refused_in_one_line(predictor, window):
    with pytest.raises(ValueError, match=r"^expected window_hu=\(low, high\).*got [^\n]*$"):
        predictor.set_image(np.zeros((4, 5)), window_hu=window)
    assert predictor.mask.shape == SHAPE


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((4, 5), bool), "of integers or floats, got bool"),
        (np.zeros((4, 5), complex), "of integers or floats, got complex128"),
        (np.zeros((4, 5), object), "of integers or floats, got object"),
        (np.full((4, 5), "0"), "of integers or floats, got <U1"),
        (None, "of integers or floats, got object"),
        ([[1, 2], [3]], r"expected an image \[h w\], got \[\[1, 2\], \[3\]\]"),
        (np.zeros((1, 4, 5, 1)), r"got shape \[1, 4, 5, 1\]"),
        (np.full((4, 5), 1e300), "not finite"),
        (np.ma.masked_equal(np.eye(4), 1), "masked values; fill them first"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(predictor, picture, message):
    with pytest.raises(ValueError, match=message) as caught:
        predictor.set_image(picture, window_hu=(0, 1))
    assert "\n" not in str(caught.value)
    assert predictor.mask.shape == SHAPE


def test_images_of_every_number_type_and_lists_are_the_same():
    values = [[-200, 0, 40], [300, 7, 250]]
    predictor = InteractivePredictor(Blurry(), VARIABLES)
    seen = set()
    for picture in (
        values,
        np.asarray(values, np.int16),
        np.asarray(values, np.float64),
        np.asarray(values, ">i2"),
        jnp.asarray(values),
        np.ma.masked_array(values, mask=False),
    ):
        predictor.set_image(picture, window_hu=(-150, 250))
        seen.add(np.asarray(predictor._image).tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize("sign", [-1, 0, 1, 1.0, "negative", "", None, [True], np.int64(0)])
def test_a_sign_is_true_or_false_and_nothing_else(predictor, sign):
    with pytest.raises(ValueError, match=r"^expected is_positive=True \(lesion\) or False"):
        predictor.add_click(10, 12, 4.0, is_positive=sign)
    assert predictor.num_clicks == 0


def test_true_and_false_of_numpy_and_jax_are_signs(predictor):
    for sign in (False, True):
        predictor.add_click(10, 12, 4.0, is_positive=sign)
        expected = predictor.prob.tobytes()
        predictor.undo()
        for form in (np.bool_(sign), np.asarray(sign), jnp.asarray(sign)):
            predictor.add_click(10, 12, 4.0, is_positive=form)
            assert predictor.prob.tobytes() == expected
            predictor.undo()


@pytest.mark.parametrize("name", ["y", "x", "radius"])
@pytest.mark.parametrize(
    "value",
    ["12", None, [12], np.array([12]), jnp.array([12.0]), True, np.bool_(True), 12j],
    ids=repr,
)
def test_what_is_no_number_is_refused_by_name(predictor, name, value):
    click = {"y": 10, "x": 12, "radius": 4.0, name: value}
    with pytest.raises(ValueError, match=f"^expected {name} to be a number, got [^\n]*$"):
        predictor.add_click(**click)
    assert predictor.num_clicks == 0


def test_numbers_of_numpy_and_jax_click_alike(predictor):
    predictor.add_click(10, 12, 4)
    expected = predictor.prob.tobytes()
    for form in (float, np.int64, np.uint8, np.float16, np.float32, jnp.asarray, np.asarray):
        predictor.undo()
        predictor.add_click(form(10), form(12), form(4))
        assert predictor.prob.tobytes() == expected
