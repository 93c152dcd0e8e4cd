/**
 * Loaded into every process of a berth by `--import`: at each connection to its socket in ENTERED_FOLDER it writes the source files in which a
 * function ran since the connection before, as V8's coverage has them.
 */
import { Session } from "node:inspector";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";

const session = new Session();
session.connect();
session.post("Profiler.enable");
session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });

const server = createServer((socket) => {
  session.post("Profiler.takePreciseCoverage", (error, coverage) => {
    // The first function of a module is its top level, which runs when it is loaded.
    const entered = error
      ? []
      : coverage.result.filter(({ functions }) => functions.some((one) => one.functionName !== "" && one.ranges[0].count > 0));
    socket.end(JSON.stringify(entered.map(({ url }) => url)));
  });
});
server.listen(join(process.env.ENTERED_FOLDER, `${process.pid}.sock`));
server.unref();
