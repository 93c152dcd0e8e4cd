/**
 * Preloaded into each test file by test/run.ts: marks the file's process and all that it starts. The mark is a folder at the end of PATH that does not
 * exist, since tests hand PATH, and little else, to the programs that they start.
 */
const folder = process.env["TEST_RUN_FOLDER"];
if (folder !== undefined && !process.env["PATH"]?.includes(folder)) process.env["PATH"] = `${process.env["PATH"] ?? ""}:${folder}/${process.pid}`;

// Tap's hooks record each file that this process and those that it starts load: half a second of a processor for each process, and only for coverage, which
// is off. They record no file that this expression matches; tap imports them after this file.
process.env["_TAPJS_PROCESSINFO_EXCLUDE_"] = "/^/";
const options = process.env["NODE_OPTIONS"]?.replace(/"?--import=[^"\s]*@tapjs\/processinfo[^"\s]*"?/, "").trim();
if (options === "") delete process.env["NODE_OPTIONS"];
else if (options !== undefined) process.env["NODE_OPTIONS"] = options;

/** Before the limit of .taprc. */
const HANGS_MS = 570_000;
// Tap ends a file that hangs without a word about its tests. A file that exits names those that have not ended, and is run once more alone.
setTimeout(() => {
  console.error(`${process.argv[1]} has not ended within ${HANGS_MS / 1_000} s.`);
  process.exit(1);
}, HANGS_MS).unref();
