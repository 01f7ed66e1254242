/*
 * Brings the regions of all slides of a wsi-necrosis output folder into the open QuPath project.
 *
 * In QuPath 0.4 or later: open the project that holds the slides, then Automate > Script editor, open this file, Run.
 * Images are found by name. Objects that an earlier run of this script brought in are replaced; all others stay.
 */
import groovy.json.JsonSlurper
import java.awt.geom.AffineTransform
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjectTools

def outputFolder = new File(@FOLDER@) // edit this line where it is not so, or the folder has moved
def regionsFile = @REGIONS@

def project = getProject()
if (project == null) {
    println 'Open the QuPath project that holds the slides first'
    return
}
if (!new File(outputFolder, 'slides').isDirectory()) {
    println "${outputFolder} is no output folder; edit the line of this script that names it"
    return
}
def results = [:]
new File(outputFolder, 'slides').eachFileRecurse { file ->
    if (file.name == 'result.json' && !file.path.contains('.work')) {
        def result = new JsonSlurper().parse(file, 'UTF-8')
        def found = [folder: file.parentFile, result: result]
        results[result.slide_id] = found
        results[new File(result.slide_id as String).name] = found
        if (result.path) results[new File(result.path as String).name] = found
    }
}
for (entry in project.getImageList()) {
    def name = entry.getImageName()
    def found = results[name] ?: results.find { name.startsWith(it.key + ' - ') }?.value
    if (found == null) {
        println "${name}: no results"
        continue
    }
    def file = new File(found.folder, regionsFile)
    if (!file.exists()) {
        println "${name}: ${file} is missing"
        continue
    }
    def imageData = entry.readImageData()
    def server = imageData.getServer()
    def provenance = found.result.provenance
    def full = provenance.slide.size_l0
    def plane = provenance.grid.plane_l0
    def objects = PathIO.readObjects(file)
    // The file's zero is the corner of the scanned plane. Where QuPath shows the whole level 0, objects are shifted.
    def showsAll = server.getWidth() == full[0] && server.getHeight() == full[1]
    def x = Math.floor(plane[0] as double), y = Math.floor(plane[1] as double)
    if (showsAll && (x != 0 || y != 0)) {
        def shift = AffineTransform.getTranslateInstance(x, y)
        objects = objects.collect { object ->
            def moved = PathObjectTools.transformObject(object, shift, true)
            moved.setName(object.getName())
            moved.setID(object.getID())
            moved
        }
    }
    def hierarchy = imageData.getHierarchy()
    def ids = objects.collect { it.getID() } as Set
    def before = hierarchy.getAllObjects(false).findAll { it.getName()?.endsWith(' mm2') && it.isAnnotation() || ids.contains(it.getID()) }
    hierarchy.removeObjects(before, true)
    hierarchy.addObjects(objects)
    entry.saveImageData(imageData)
    server.close()
    println "${name}: ${objects.size()} regions"
}
println 'Done; reload the image that is open (File > Reload data)'
