import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import t from "tap";
import { eventually } from "../fixtures/eventually.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { watchDoubles } from "./doubles.ts";

t.test("each moment with two instances of a container is noted, however short, with its length", async (t) => {
  const watch = watchDoubles(t, tempFolder(t));
  const start = async (container: string): Promise<ChildProcess> => {
    const [program, ...args] = [...watch.command(container), "sh", "-c", "echo runs; exec sleep 600"];
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    t.teardown(() => child.kill("SIGKILL"));
    await once(child.stdout ?? child, "data");
    return child;
  };
  const end = async (child: ChildProcess) => {
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  };
  const first = await start("one");
  await start("another");
  await end(first);
  const second = await start("one");
  t.strictSame(watch.doubles(), [], "another container, and an instance that has ended, are no doubles");

  const third = await start("one");
  await end(third);
  const [short] = watch.doubles();
  t.match(short, { container: "one" });
  t.ok(short && short.ms > 0);

  await start("one");
  const long = () => watch.doubles()[1];
  await eventually("the second double lasts", () => (long()?.ms ?? 0) > (short?.ms ?? 0));
  await end(second);
  const measured = long();
  t.strictSame(watch.doubles(), [short, measured], "their times stay as they were when one of both ended");
});
