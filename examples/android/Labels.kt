// The names of the classes, out of the network's own file.
package org.pnag

import java.io.File
import java.util.zip.ZipFile

/** A .tflite that pnag_tf has deployed ends in a ZIP archive with `labels.txt`. */
fun labels(network: File): List<String> =
    ZipFile(network).use { zip -> zip.getInputStream(zip.getEntry("labels.txt")).bufferedReader().readLines() }
