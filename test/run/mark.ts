/**
 * Preloaded into each test file by test/run.ts: marks the file's process and all that it starts. The mark is a folder at the end of PATH that does not
 * exist, since tests hand PATH, and little else, to the programs that they start.
 */
const folder = process.env["TEST_RUN_FOLDER"];
if (folder !== undefined && !process.env["PATH"]?.includes(folder)) process.env["PATH"] = `${process.env["PATH"] ?? ""}:${folder}/${process.pid}`;
