// What a network of pnag_tf looks at, in plain Kotlin: the central square of a photo, scaled as in training.
package org.pnag

import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt

private const val CENTRE = 0.875 // side of the square, unless that would enlarge it

/**
 * RGB from 0 to 255, [resolution, resolution, 3], of upright ARGB pixels such as `Bitmap.getPixels` gives.
 *
 * Photos far larger than the network's square are best decoded smaller (`BitmapFactory.Options.inSampleSize`).
 */
fun pixels(argb: IntArray, width: Int, height: Int, resolution: Int): FloatArray {
    val shorter = min(width, height)
    // Halves to the even number, as TensorFlow rounds.
    val side = max(Math.rint(CENTRE * shorter).toInt(), min(shorter, resolution))
    val left = (width - side) / 2
    val top = (height - side) / 2
    val weights = weights(side, resolution)
    val rows = FloatArray(resolution * side * 3) // scaled from top to bottom
    for (y in 0 until resolution) for (x in 0 until side) for (channel in 0..2) {
        var sum = 0f
        for ((at, weight) in weights[y]) {
            sum += weight * (argb[(top + at) * width + left + x] shr (16 - 8 * channel) and 255)
        }
        rows[(y * side + x) * 3 + channel] = sum
    }
    val scaled = FloatArray(resolution * resolution * 3) // and from left to right
    for (y in 0 until resolution) for (x in 0 until resolution) for (channel in 0..2) {
        var sum = 0f
        for ((at, weight) in weights[x]) sum += weight * rows[(y * side + at) * 3 + channel]
        scaled[(y * resolution + x) * 3 + channel] = sum.roundToInt().coerceIn(0, 255).toFloat()
    }
    return scaled
}

/** For each scaled pixel the pixels that it is a mean of, and their weights: a triangle, wider beyond half the size. */
private fun weights(side: Int, resolution: Int): List<List<Pair<Int, Float>>> {
    val scale = side.toDouble() / resolution
    val radius = if (side > 2 * resolution) scale else 1.0
    return List(resolution) { place ->
        val centre = (place + 0.5) * scale - 0.5
        val near = (floor(centre - radius).toInt() + 1)..floor(centre + radius).toInt()
        val found = near.map { it.coerceIn(0, side - 1) to max(0.0, 1 - kotlin.math.abs(it - centre) / radius) }
        val kept = if (radius > 1.0) found.filterIndexed { i, _ -> near.elementAt(i) in 0 until side } else found
        val sum = kept.sumOf { it.second }
        kept.map { (at, weight) -> at to (weight / sum).toFloat() }
    }
}
