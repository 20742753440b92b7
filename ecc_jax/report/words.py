"""The fixed words of report.md."""

RESEARCH_USE = "Research use only. Not a medical device; not for diagnosis or treatment."

# How to read each row, where it was run.
READING = {
    "model": "the network, corrected click by click.",
    "external": "a predictor from outside this package, corrected by the same simulated user.",
    "disk_as_mask": "the disk of the first click taken as the segmentation. No image, no network.",
    "disk_painter_average": "paints every lesion disk and erases every background disk of the "
    "simulated user, and never looks at the image. Its radius is the mean of tight and enclosing.",
    "disk_painter_tight": "the same with the tight radius: the largest disk around the click that "
    "stays in the region.",
    "disk_painter_tuned": "the same with the radii between tight (weight 0) and enclosing (weight "
    "1) that scored best on the training split, one weight for the first click, one for the later "
    "ones: what a painter can reach that knows this kind of lesion but not this image.",
    "blank_image": "the same network, clicked by the same user, with a blank image. Its "
    "distance to the model is what the network reads from the image; its distance to the painters "
    "is what it learnt about shapes and clicks.",
    "start_mask": "the mask that the user begins with, before any click. A method below it does "
    "harm.",
    "flooding": "grows from the first click over pixels of similar HU; its tolerance was tuned on "
    "the training split. It sees the image, but learns one number.",
    "random_walker": "the classical graph segmentation of the same image, seeded by the middle of "
    "the user's dynamic disks, click by click; it learns nothing.",
    "best_reader": "of the human readers of a slice the one that agrees best with the ground "
    "truth. The truth is made from those readers, so it favours them: a ceiling, no competitor.",
}

GUIDE = """\
A dynamic disk carries much of the answer by itself: its radius is measured on the ground truth, \
so the disk alone can reach a high IoU, and every further click tells where the error is. What a \
network with dynamic disks has learnt from the image is therefore its **gain** over the controls \
that get the same clicks and no image, not its IoU. A gain whose interval includes 0 shows \
nothing. A network with static disks receives no radius, so for it disk and painter are no bar, \
only a reference."""

PROTOCOL = """\
A simulated user corrects the mask. Its rule `largest_component` puts the first click at the \
centre of the largest component of the ground truth and every later one on the largest connected \
error, at its deepest pixel; `deepest` takes the deepest error pixel of all. A lesion click goes \
where lesion was missed, a background click where too much was marked. Each comes with a disk \
radius. Measures are taken at full slice size after every click, and averaged over slices. When \
nothing is left to correct, the user stops and the measures stay as they are. Thresholds do not \
stop the user. The whole configuration is in config.json, beside this report or in the run's \
folder."""

INTERVALS = """\
**Intervals** are 95 % percentile intervals of {resamples} bootstrap resamples. Patients are \
drawn, not slices, for slices of one patient are alike; differences are paired, slice by slice. \
They tell the spread over patients, not over training runs; scripts/pool.py averages the latter \
out over several seeds."""

MEASURES = {
    "iou": "**IoU**: intersection over union. Both masks empty: 1; one empty: 0.",
    "dice": "**Dice**: twice the intersection over the sum of the areas. Both masks empty: 1; one "
    "empty: 0.",
    "nsd": "**NSD** (normalised surface Dice): share of both outlines that lies within the "
    "tolerance of the other one. Both masks empty: 1; one empty: 0.",
    "hd95": "**HD95**: 95th percentile of the distances between the outlines, the larger of the "
    "two directions; smaller is better. Both masks empty: 0; one empty: the diagonal of the image.",
}

CVPR25 = """\
After the protocol of the CVPR 2025 challenge "Foundation Models for Interactive Biomedical Image \
Segmentation": the first disk stands for the challenge's box, five clicks follow. DSC_AUC and \
NSD_AUC are areas by trapezoids over the five clicks after the first disk, at most 4.0; \
DSC_Final and NSD_Final are the values after the last click. NSD has a tolerance of {tolerance} \
and is set to 0 where DSC <= 0.2. The challenge is on volumes, this is on slices: figures compare \
between methods evaluated here, not with its leaderboard."""

CAPTIONS = {
    "curves.png": "Mean IoU per click and gain over the controls that see no image; shaded: 95 % "
    "intervals. Of more than nine rows, first disk and tight painter are left out on the left.",
    "strata.png": "Mean IoU by lesion size; whiskers: 95 % intervals.",
    "noc.png": "How many clicks the slices needed; on the right those that failed.",
    "montage.png": "Single cases with disks, ground truth and prediction.",
}
