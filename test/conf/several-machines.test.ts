import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readSettings } from "../../conf/read-settings.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";
import { run } from "../gateway/registry/run.ts";

/** The files for several machines, as Compose and systemd read them. Their settings are read as berth reads them. */
const SOURCE = join(import.meta.dirname, "../..");

type ComposeService = {
  environment: Record<string, string>;
  ports: { host_ip: string; published: string }[];
  secrets: { source: string; target: string }[];
};

const VARIABLES = {
  DRIVER: "swarm",
  DATABASE_URL: "postgres://berth@postgres.internal:5432/berth",
  CONTROL_URL: "https://one.internal:8443",
  CONTROL: "https://one.internal:8443,https://two.internal:8443",
  PRIVATE_ADDRESS: "10.0.0.1",
  DATABASE_CA: "./secrets/database-ca.pem",
  REGISTRY_STORAGE: "s3://images/berth?region=eu-west-1",
  REGISTRY_STORAGE_KEY_ID: "key-id",
  BUCKET_SECRET: "./secrets/bucket-secret",
};

t.test("the Compose file starts control and gateways, and a registry on a bucket where that is wanted, each with valid settings", async (t) => {
  const folder = tempFolder(t);
  cpSync(join(SOURCE, "conf/compose/several-machines.yaml"), join(folder, "compose.yaml"));
  writeFileSync(join(folder, "berth.env"), "");
  const config = async (variables: Record<string, string>, ...options: string[]) => {
    const env = { PATH: process.env["PATH"] ?? "", HOME: folder, DOCKER_CONFIG: folder, ...variables };
    return run("docker", ["compose", "--project-directory", folder, "-f", join(folder, "compose.yaml"), ...options, "config", "--format=json"], {
      env,
    });
  };
  const servicesOf = async (...options: string[]) => {
    const { code, output } = await config(VARIABLES, ...options);
    t.equal(code, 0, output);
    return (JSON.parse(output) as { services: Record<string, ComposeService> }).services;
  };
  t.same(Object.keys(await servicesOf()).toSorted(), ["control", "gateway"]);
  const services = await servicesOf("--profile=registry");
  t.same(Object.keys(services).toSorted(), ["control", "gateway", "registry"]);
  for (const [name, { environment, secrets }] of Object.entries(services)) {
    const { settings } = readSettings({ env: environment, file: undefined, readText: () => "a-secret" });
    t.equal(settings.role, name, "by which its health check finds what to check");
    const mounted = new Set(secrets.map(({ source, target }) => (target.startsWith("/") ? target : `/run/secrets/${target || source}`)));
    for (const [variable, value] of Object.entries(environment))
      if (value.startsWith("/run/secrets/")) t.ok(mounted.has(value), `${name}: ${variable}`);
    if (name !== "control") t.equal(settings.control.url.length, 2, name);
    if (name === "control") t.match(settings.gateways, { port: 8443, url: VARIABLES.CONTROL_URL });
    if (name === "control") t.match(settings.database, { ca: "/run/secrets/database-ca", passwordFile: "/run/secrets/database-password" });
    if (name === "registry") t.match(settings.registry, { storage: VARIABLES.REGISTRY_STORAGE, storageKeyId: "key-id", storageSecret: "a-secret" });
  }
  const { DATABASE_CA: _ca, BUCKET_SECRET: _secret, REGISTRY_STORAGE_KEY_ID: _id, ...plain } = VARIABLES;
  const { output: without } = await config(plain, "--profile=registry");
  for (const [name, { environment }] of Object.entries((JSON.parse(without) as { services: Record<string, ComposeService> }).services)) {
    const { settings } = readSettings({ env: environment, file: undefined, readText: () => "a-secret" });
    t.same([settings.database.ca, settings.registry.storageSecret], [undefined, undefined], `${name} without a private authority and a bucket`);
  }
  t.match(services["control"]?.ports, [{ host_ip: "10.0.0.1", published: "8443" }]);
  for (const name of ["DRIVER", "DATABASE_URL", "CONTROL_URL", "CONTROL", "PRIVATE_ADDRESS"]) {
    const { [name as keyof typeof VARIABLES]: _, ...rest } = VARIABLES;
    const { code, output } = await config(rest);
    t.not(code, 0, name);
    t.match(output, name);
  }
});

t.test("systemd finds no mistake in the units", (t) => {
  const folder = tempFolder(t);
  const program = join(folder, "berth");
  writeFileSync(program, "#!/bin/sh\n", { mode: 0o755 });
  const names = readdirSync(join(SOURCE, "conf/systemd"));
  t.same(names.toSorted(), ["berth-control.service", "berth-gateway.service", "berth-registry.service"]);
  for (const name of names) {
    // It looks for the program itself.
    writeFileSync(join(folder, name), readFileSync(join(SOURCE, "conf/systemd", name), "utf8").replace("ExecStart=berth", `ExecStart=${program}`));
    t.equal(
      execFileSync("systemd-analyze", ["verify", "--man=no", join(folder, name)], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }),
      "",
      name,
    );
  }
  t.end();
});
