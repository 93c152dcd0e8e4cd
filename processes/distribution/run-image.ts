import { runImage } from "./image-run.ts";

/** As a process of its own, this file is the program. */
if (import.meta.main) void runImage(process.argv.slice(2)).then((code) => (process.exitCode = code));
