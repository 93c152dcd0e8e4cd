import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type BerthClient, openClient } from "../fixtures/berth.ts";
import { eventually } from "../fixtures/eventually.ts";
import { buildTestImages } from "../fixtures/images.ts";
import type { SwitchedMachine } from "../fixtures/machines.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";
import type { OwnEngine } from "../program/recovery/own-engine.ts";
import { copyBuiltProgram } from "./binary/fixtures/built-program.ts";
import { bootSystemd, type SystemdMachine } from "./systemd-machine.ts";
import { blocksOf, copyTo, leaderOf, makeSecrets, openManagers, openTwoMachines, statusAt } from "./two-machines.ts";

/**
 * The units of conf/systemd on two machines, each with a real systemd as its first process, the executable, and an engine in a swarm of three managers; set up
 * as their page says.
 */
t.setTimeout(600_000);

const SOURCE = join(import.meta.dirname, "../..");
const UNITS = ["berth-control", "berth-gateway", "berth-registry"] as const;
const IMAGE = "127.0.0.1:5000/datagrok/square:1";

const stand = await openTwoMachines(t);
const root = tempFolder(t);
const program = join(root, "berth");
const building = copyBuiltProgram(program);

type UnitMachine = { machine: SwitchedMachine; engine: OwnEngine; systemd: SystemdMachine };
const [engines] = await Promise.all([openManagers(t, [stand.one, stand.two, stand.three]), building]);
const units = copyTo(join(root, "conf/systemd"), ...UNITS.map((name) => `conf/systemd/${name}.service`));
mkdirSync(join(root, "conf/compose"));
await makeSecrets(stand, [join(root, "conf/compose")]);
const machines = (await Promise.all(
  [stand.one, stand.two].map(async (machine, at): Promise<UnitMachine> => {
    const engine = engines[at] as OwnEngine;
    const systemd = await bootSystemd(t, machine, [`${root}:/mnt/berth`, `${engine.host.replace("unix://", "")}:/run/docker.sock`]);
    return { machine, engine, systemd };
  }),
)) as [UnitMachine, UnitMachine];
const [one, two] = machines;

const [install = "", control = "", gateway = "", registry = "", enable = "", show = "", collect = ""] = blocksOf("two-machines-systemd");
const leader = async () => {
  const leading = await leaderOf(machines.map(({ machine }) => machine));
  return machines.find(({ machine }) => machine === leading) as UnitMachine;
};
const other = (than: UnitMachine) => (than === one ? two : one);
const journals = async () =>
  (
    await Promise.all(
      machines.flatMap(({ systemd, machine }) => UNITS.map(async (unit) => `${machine.name} ${unit}:\n${await systemd.journal(unit)}`)),
    )
  ).join("\n");
const square = async (client: BerthClient, id: string) => {
  const response = await client.call(`/docker/containers/proxy/${id}/square?number=4`);
  return { status: response.status, body: await response.text() };
};
const SQUARED = { status: 200, body: '{"result":16}' };
let clients: Map<UnitMachine, BerthClient>;
let id = "";

t.test("installed as the page says, the units run under all their restrictions, and one machine leads", async (t) => {
  await Promise.all(
    machines.map(async ({ systemd, machine }) => {
      await systemd.shell("cd /mnt/berth && ./berth install");
      await systemd.shell(`cd /mnt/berth\n${stand.written(install, machine)}`);
      for (const [name, text] of Object.entries({ control, gateway, registry })) {
        const from = join(root, `${machine.name}-${name}.env`);
        writeFileSync(from, stand.written(text, machine));
        await systemd.shell(`install -m 600 /mnt/berth/${machine.name}-${name}.env /etc/berth/${name}.env`);
      }
      await systemd.shell(stand.written(enable, machine)).catch(async (cause: unknown) => {
        throw new Error(await journals(), { cause });
      });
    }),
  );
  const leading = await leader();
  const shown = await leading.systemd.shell(stand.written(show, leading.machine));
  t.match(shown, new RegExp(`^Leader .*${leading.machine.there}:8443.*\n^Standby .*${other(leading).machine.there}:8443`, "m"));
  await t.rejects(other(leading).systemd.shell(stand.written(show, leading.machine)), {
    message: new RegExp(`standby: https://${leading.machine.there}:8443 leads`),
  });
  const key = shown.trim().split("\n").at(-1) ?? "";
  const output = () => "see the journals";
  clients = new Map(
    await Promise.all(machines.map(async (each) => [each, await openClient({ base: `http://${each.machine.there}:8080`, key, output })] as const)),
  );
  for (const { systemd } of machines)
    for (const unit of UNITS) {
      t.match(await systemd.run("systemctl", "is-active", unit), { code: 0 }, await systemd.journal(unit));
      t.match(await systemd.run("systemd-analyze", "security", "--threshold=20", unit), { code: 0 });
    }
  t.equal(units.endsWith("conf/systemd"), true);
});

t.test("an image that is pushed to one registry runs from the other, on demand, through both gateways", async (t) => {
  const { onDemand } = await buildTestImages(one.engine.docker, ["onDemand"]);
  const client = clients.get(one) as BerthClient;
  const env = { DOCKER_CONFIG: root, DOCKER_HOST: one.engine.host };
  t.match(await run("docker", ["login", "127.0.0.1:5000", "-u", "any", "--password-stdin"], { env, input: client.key }), { code: 0 });
  const pushed = await run("sh", ["-ec", `docker tag ${onDemand} ${IMAGE} && docker push ${IMAGE}`], { env });
  t.equal(pushed.code, 0, pushed.output);
  const files = {
    "package.json": JSON.stringify({ name: "Pair", version: "1.0.0" }),
    "dockerfiles/square/container.json": JSON.stringify({ image: IMAGE, on_demand: true, memory: 128 }),
  };
  t.equal((await client.publish("Pair", files)).status, 200);
  id = await eventually("the image", async () => {
    const container = await client.container("pair-square");
    return container.dockerfile.status === "ready" ? container.id : undefined;
  });
  for (const each of machines) t.same(await square(clients.get(each) as BerthClient, id), SQUARED);
});

t.test("the registry's garbage is collected by the command of the page", async (t) => {
  t.match(await two.systemd.shell(stand.written(collect, two.machine)), /There is no garbage/);
});

t.test("systemd starts a killed leader again, as a standby of the other one or as the leader", async (t) => {
  const before = await leader();
  await before.systemd.shell("systemctl kill --signal=SIGKILL berth-control");
  await eventually("both to be there", async () => {
    const statuses = await Promise.all(machines.map(({ machine }) => statusAt(machine, "/readyz")));
    return statuses.toSorted((lower, higher) => lower - higher).join() === "200,503";
  });
  t.equal((await (clients.get(before) as BerthClient).call("/users/current")).status, 200);
  t.same(await square(clients.get(other(before)) as BerthClient, id), SQUARED);
});

t.test("a step-down, then the loss of the leader's machine: the other one goes on", async (t) => {
  const before = await leader();
  await before.systemd.shell("berth control step-down");
  await eventually("the other to lead", async () => (await statusAt(other(before).machine, "/readyz")) === 200);
  const lost = await leader();
  const left = other(lost);
  await eventually("a standby", async () => (await statusAt(left.machine, "/readyz")) === 503);
  lost.machine.unplug();
  const from = performance.now();
  t.equal((await (clients.get(left) as BerthClient).call("/users/current")).status, 200);
  t.comment(`the API answered ${Math.round(performance.now() - from)} ms after the loss`);
  await eventually("a start", async () => (await square(clients.get(left) as BerthClient, id)).status === 200, 120_000);
  t.comment(`a container was served ${Math.round(performance.now() - from)} ms after the loss`);
  lost.machine.plug();
  await eventually(
    "a standby again",
    async () => (await statusAt(lost.machine, "/readyz")) === 503 && (await statusAt(lost.machine, "/livez")) === 200,
    120_000,
  );
});

t.test("stopped, each unit ends well; then all run as one service, as the page on several machines has it", async (t) => {
  for (const { systemd } of machines) {
    await systemd.shell(`systemctl stop ${UNITS.join(" ")}`);
    for (const unit of UNITS)
      t.match(
        await systemd.run("systemctl", "show", "--property=Result,ActiveState", unit),
        { output: /Result=success/ },
        await systemd.journal(unit),
      );
  }
  const [command = ""] = [...readFileSync(join(SOURCE, "docs/several-machines.md"), "utf8").matchAll(/^```sh\n(.*?)^```/gms)].map(
    ([, text = ""]) => text,
  );
  for (const { systemd, machine } of machines) {
    const own = machine === stand.one ? command : command.replaceAll(/\b(?:one|two)\b/g, (name) => (name === "one" ? "two" : "one"));
    const variables = own.split(/\s+/).filter((word) => word.includes("="));
    const more = [
      `BERTH_HOST=${machine.there}`,
      "BERTH_DATABASE_CA=/etc/berth/secrets/database-ca.pem",
      "BERTH_ACCESS_LOG=/var/log/berth/access.log",
    ];
    writeFileSync(
      join(root, `${machine.name}.env`),
      `${[...variables, ...more].map((line) => stand.written(line, machine).replaceAll("'", "")).join("\n")}\n`,
    );
    await systemd.shell(`cat /mnt/berth/${machine.name}.env >>/etc/berth/berth.env`);
    await systemd.shell(
      `cd /etc/berth && cp secrets/database-password secrets/gateways* . && cp secrets/credentials-key credentials.key && chown berth *`,
    );
  }
  await Promise.all(machines.map(async ({ systemd }) => systemd.shell("systemctl start berth.service")));
  await leader();
  for (const each of machines) {
    t.same(await square(clients.get(each) as BerthClient, id), SQUARED);
    const logged = () => each.systemd.run("grep", "-c", "square", "/var/log/berth/access.log");
    await eventually("a line in the access log", async () => ((await logged()).code === 0 ? true : undefined));
  }
});
