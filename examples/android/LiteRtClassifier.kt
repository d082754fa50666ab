// A network of pnag_tf on a Bitmap, by LiteRT. Needs com.google.ai.edge.litert:litert.
package org.pnag

import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import java.io.File
import kotlin.math.roundToInt
import kotlin.math.sqrt

class LiteRtClassifier(network: File) : AutoCloseable {
    private val names = labels(network)
    private val model = CompiledModel.create(network.path, CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    private val resolution = sqrt(inputs[0].readFloat().size / 3.0).roundToInt()

    /** (class, probability), the most probable first; the bitmap is upright, of configuration ARGB_8888. */
    fun predict(photo: Bitmap, top: Int = 3): List<Pair<String, Float>> {
        val argb = IntArray(photo.width * photo.height)
        photo.getPixels(argb, 0, photo.width, 0, 0, photo.width, photo.height)
        inputs[0].writeFloat(pixels(argb, photo.width, photo.height, resolution))
        model.run(inputs, outputs)
        return names.zip(outputs[0].readFloat().asIterable()).sortedByDescending { it.second }.take(top)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
