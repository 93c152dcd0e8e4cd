import t from "tap";
import { demux } from "../../../drivers/engine/streams.ts";
import { exposedPorts, parseReference } from "../../../drivers/image.ts";
import { engineFault } from "../../../drivers/engine/faults.ts";
import { chooseReach } from "../../../drivers/engine/reach.ts";
import { Fault } from "../../../lib/fault.ts";

t.test("the order of ports is the history's, and a guess says that it is one", async (t) => {
  const both = ["5353/tcp", "80/tcp", "53/udp"];
  t.strictSame(exposedPorts(["80/tcp"], []), { exposed: [80] });
  t.strictSame(exposedPorts(["53/udp"], []), { exposed: [] });
  t.strictSame(exposedPorts(both, ["/bin/sh -c #(nop)  EXPOSE 5353", "/bin/sh -c #(nop)  EXPOSE 80"]), { exposed: [5353, 80] });
  t.strictSame(exposedPorts(both, ["EXPOSE map[5353/tcp:{}]", "EXPOSE map[80/tcp:{}]"]), { exposed: [5353, 80] });
  t.strictSame(exposedPorts(both, ["EXPOSE map[5353/tcp:{} 80/tcp:{}]"]), { exposed: [80, 5353], guessed: true });
  t.strictSame(exposedPorts(both, ["EXPOSE [53/udp 5353/tcp]"]), { exposed: [5353, 80] });
  t.strictSame(exposedPorts(both, ["COPY . ."]), { exposed: [80, 5353], guessed: true });
});

t.test("a reference is taken apart as the engine would", async (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const named = (ref: string) => {
    const { kind: _, ...rest } = parseReference(ref) as Extract<ReturnType<typeof parseReference>, { kind: "name" }>;
    return rest;
  };
  t.strictSame(named("nginx"), { registry: undefined, digest: undefined, name: "nginx", tag: "latest" });
  t.strictSame(named("datagrok/x:1.0"), { registry: undefined, digest: undefined, name: "datagrok/x", tag: "1.0" });
  t.strictSame(named("localhost/x"), { registry: "localhost", digest: undefined, name: "localhost/x", tag: "latest" });
  t.strictSame(named("a.b:5000/c/d:e"), { registry: "a.b:5000", digest: undefined, name: "a.b:5000/c/d", tag: "e" });
  t.strictSame(named(`host:1/x:tag@${digest}`), { registry: "host:1", digest, name: "host:1/x", tag: digest });
  t.strictSame(parseReference(digest), { kind: "id" });
  for (const wrong of ["", "UPPER", "Name/space", "a//b", "a:b:c", "-a", "a@sha256:12", "a b", `x:${"t".repeat(129)}`, "http://a/b"]) {
    t.throws(() => parseReference(wrong), { code: "IMAGE_REFERENCE_INVALID" }, wrong);
  }
});

t.test("an engine's answer has one meaning in the house", async (t) => {
  const dockerError = (statusCode: number, message: string) =>
    Object.assign(new Error(`(HTTP code ${statusCode}) reason - ${message} `), { statusCode });
  t.equal(engineFault(dockerError(404, "manifest unknown"), "pull", "Pulling x").code, "IMAGE_NOT_FOUND");
  t.equal(engineFault(dockerError(404, "pull access denied for x, repository does not exist"), "pull", "Pulling x").code, "PULL_DENIED");
  t.equal(engineFault(dockerError(500, "Get https://r/v2/: unauthorized: authentication required"), "pull", "Pulling x").code, "PULL_DENIED");
  t.equal(engineFault(dockerError(500, "dial tcp: lookup r: no such host"), "pull", "Pulling x").code, "ENGINE_FAILED");
  t.equal(engineFault(dockerError(404, "No such image: x"), "start", "Starting x").code, "IMAGE_NOT_FOUND");
  t.equal(engineFault(dockerError(400, "invalid CPU count"), "start", "Starting x").code, "SPEC_REFUSED");
  t.equal(
    engineFault(Object.assign(new Error("connect"), { code: "ECONNREFUSED", syscall: "connect" }), "control", "Listing").code,
    "ENGINE_UNREACHABLE",
  );
  t.equal(engineFault(dockerError(500, "boom"), "control", "Listing").code, "ENGINE_FAILED");
  const plugin = dockerError(403, "authorization denied by plugin opa: POST /containers/create is not allowed");
  for (const reading of ["control", "pull", "start"] as const) t.equal(engineFault(plugin, reading, "Starting x").code, "ENGINE_ACTION_DENIED");
  t.match(
    engineFault(dockerError(500, "no space left on device"), "start", "Starting x").message,
    /^Starting x: no space left on device\. Stop other/,
  );
  const own = new Fault("NO_CAPACITY", "full");
  t.equal(engineFault(own, "control", "Listing"), own);
});

t.test("the way to containers follows from where berth runs", async (t) => {
  const here = { inContainer: false, remote: false, platform: "linux" as const };
  t.equal(chooseReach("auto", here), "address");
  t.equal(chooseReach("auto", { ...here, inContainer: true }), "name");
  t.equal(chooseReach("auto", { ...here, remote: true }), "published");
  t.equal(chooseReach("auto", { ...here, platform: "darwin" }), "published");
  t.equal(chooseReach("name", here), "name");
});

t.test("frames and characters that are cut anywhere come out whole", async (t) => {
  const frame = (stream: number, text: string) => {
    const body = Buffer.from(text);
    const head = Buffer.alloc(8);
    head[0] = stream;
    head.writeUInt32BE(body.length, 4);
    return Buffer.concat([head, body]);
  };
  const whole = Buffer.concat([frame(1, "größe\n"), frame(2, ""), frame(2, "€ is an error\n"), frame(1, "end\n")]);
  for (const size of [1, 2, 3, 7, 11, whole.length]) {
    const cut = async function* () {
      for (let at = 0; at < whole.length; at += size) yield whole.subarray(at, at + size);
    };
    let text = "";
    for await (const piece of demux(cut())) text += piece;
    t.equal(text, "größe\n€ is an error\nend\n", `pieces of ${size}`);
  }
});
