import t from "tap";
import { type Driver, nanoCpus, wrapDriver } from "../../drivers/driver.ts";

const call = { signal: new AbortController().signal };
const refuse = () => Promise.reject(new Error("not in this test"));

function fakeDriver(name: () => Driver["name"]): Driver {
  return {
    get name() {
      return name();
    },
    pulls: true,
    resolve: refuse,
    deploy: refuse,
    destroy: async () => undefined,
    inspect: async () => undefined,
    list: async () => [],
    logs: async function* () {
      yield "a line";
    },
    events: async function* () {},
    close: async () => undefined,
  };
}

t.test("a wrapped driver keeps what is not overridden, and its name is read at each use", async (t) => {
  let name: Driver["name"] = "docker";
  const wrapped = wrapDriver(
    fakeDriver(() => name),
    { inspect: () => refuse() },
  );
  name = "swarm";
  t.equal(wrapped.name, "swarm");
  t.equal(wrapped.pulls, true);
  t.equal(wrapped.pause, undefined, "an optional verb that neither has stays absent");
  t.equal(wrapped.capacity, undefined);
  t.strictSame(await wrapped.list(call), []);
  await t.rejects(wrapped.inspect("x", call), { message: "not in this test" });
});

t.test("middleware runs around every call, overridden or not, and around no stream", async (t) => {
  const calls: string[] = [];
  const wrapped = wrapDriver(
    fakeDriver(() => "docker"),
    { pause: async () => true },
    (verb, { signal }, next) => {
      calls.push(verb);
      t.equal(signal, call.signal);
      return next();
    },
  );
  await wrapped.list(call);
  t.equal(await wrapped.pause?.("x", call), true);
  await wrapped.destroy("x", call);
  for await (const piece of wrapped.logs("x", { tail: 1 }, call)) t.equal(piece, "a line");
  t.strictSame(calls, ["list", "pause", "destroy"]);
});

t.test("no share of a core is so small that an engine would take it for no limit", async (t) => {
  t.strictSame(
    [1e-10, 0.001, 0.01, 0.25, 2].map((cpu) => nanoCpus({ cpu })),
    [1e7, 1e7, 1e7, 2.5e8, 2e9],
  );
});
