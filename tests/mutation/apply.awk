# Makes the edits of steps in a copy of the source: awk -v copy=FOLDER -f apply.awk STEPS…
#
# Between <<< and === are the lines that have to be there once, whatever their indentation; where `in` names a line, the
# first ones behind it. Between === and >>> is what stands there then, with LEFT_OUT for whether the step is.

function fail(what) {
    print "tests/mutation: step " step ": " what > "/dev/stderr"
    failed = 1
    exit 1
}

function trimmed(line) {
    sub(/^[ \t]+/, "", line)
    return line
}

function edit(    path, line, lines, at, n, hits, place) {
    path = copy "/" file
    while ((getline line < path) > 0) text[++lines] = line
    close(path)
    if (!lines) fail("there is no " file)
    at = 1
    if (inside != "") while (at <= lines && index(text[at], inside) == 0) at++
    for (; at + finds - 1 <= lines; at++) {
        for (n = 1; n <= finds && trimmed(text[at + n - 1]) == find[n]; n++);
        if (n <= finds) continue
        hits++
        place = at
        if (inside != "") break
    }
    if (hits != 1) fail(file " has the lines " (hits + 0) " times: " find[1])
    printf "" > path
    for (at = 1; at < place; at++) print text[at] > path
    for (n = 1; n <= puts; n++) print put[n] > path
    for (at = place + finds; at <= lines; at++) print text[at] > path
    close(path)
}

$1 == "step" && part == "" { step = $2; file = inside = ""; next }
$1 == "file" && part == "" { file = $2; next }
$1 == "in" && part == "" { inside = substr($0, 4); next }
$0 == "<<<" { part = "find"; finds = puts = 0; next }
$0 == "===" { part = "put"; next }
$0 == ">>>" { part = ""; edit(); next }
part == "find" { find[++finds] = trimmed($0) }
part == "put" { gsub(/LEFT_OUT/, "crate::left_out(\"" step "\")"); put[++puts] = $0 }
END { if (part != "" && !failed) fail("does not end") }
