/** A program: `runImage` as a process of its own. */
import { runImage } from "./image-run.ts";

process.exitCode = await runImage(process.argv.slice(2));
