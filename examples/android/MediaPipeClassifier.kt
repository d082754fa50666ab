// The same by MediaPipe Tasks, which reads the names itself. Needs com.google.mediapipe:tasks-vision.
package org.pnag

import android.content.Context
import android.graphics.Bitmap
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.imageclassifier.ImageClassifier
import com.google.mediapipe.tasks.vision.imageclassifier.ImageClassifier.ImageClassifierOptions

class MediaPipeClassifier(context: Context, asset: String, top: Int = 3) : AutoCloseable {
    private val classifier = ImageClassifier.createFromOptions(
        context,
        ImageClassifierOptions.builder()
            .setBaseOptions(BaseOptions.builder().setModelAssetPath(asset).build())
            .setMaxResults(top)
            .build()
    )

    /** (class, probability). MediaPipe squeezes the whole bitmap into the network's square: cut out the centre first. */
    fun predict(photo: Bitmap): List<Pair<String, Float>> =
        classifier.classify(BitmapImageBuilder(photo).build()).classificationResult().classifications()[0]
            .categories().map { it.categoryName() to it.score() }

    override fun close() = classifier.close()
}
