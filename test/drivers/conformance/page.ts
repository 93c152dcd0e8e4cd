import { ADVICE } from "../../../drivers/faults.ts";
import { FAULTS, type FaultCode } from "../../../lib/fault.ts";
import { BACKENDS, type ConformanceBackend } from "./backends.ts";
import type { ConformanceTheme } from "./harness.ts";
import { CASES, THEMES } from "./themes.ts";

const ALL: readonly ConformanceBackend[] = Object.values(BACKENDS);

/** The page docs/reference/drivers.md. */
export function driversPage(): string {
  return `# Drivers

<!-- Written by \`npm run docs\` from test/drivers/conformance and drivers/faults.ts; a test fails when it differs. -->

This page is for administrators who choose an orchestrator, and for contributors. A driver runs containers on an orchestrator;
[driver.ts](../../drivers/driver.ts) is the contract. What to set: [swarm](../drivers/swarm.md), [ecs](../drivers/ecs.md),
[kubernetes](../drivers/kubernetes.md), [spawner](../drivers/spawner.md).

## Which driver is used

\`BERTH_DRIVER\` names it. With \`auto\`, the default, the first of these that applies:

| condition | driver |
| --- | --- |
| \`GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST=true\` | \`docker\` |
| an ECS cluster and Kubernetes | none: berth does not start |
| an ECS cluster (\`…_ECS__CLUSTER\`) | \`ecs\` |
| Kubernetes' namespace or kubeconfig | \`kubernetes\` |
| the Docker engine manages a Swarm | \`swarm\` |
| else | \`docker\` |

berth connects to the engine on first use, and starts without it. A driver does not see containers of another driver: stop them before you change the
driver.

## Conformance

\`.ci/run\` runs ${CASES.length} cases with ${ALL.map(({ name, on }) => `${name} on ${on}`).join("; ")}. If an orchestrator cannot pass a case, its cell says why.

${THEMES.map(themed).join("\n")}
## When a start fails

A failure of any driver has one of these codes. Its message says what failed and where, and ends with advice. If a running container accepts no
connection, berth itself fails the start with \`START_TIMED_OUT\`.

${table(["code", "status", "meaning", "what to do"])}${adviceRows().map(line).join("")}`;
}

/** The same table as lines of text, for the output of the tests. */
export function conformanceLines(): string[] {
  return CASES.map((one) => `${one.promise}: ${ALL.map((backend) => `${backend.name} ${cell(backend, one.id)}`).join("; ")}`);
}

function themed({ title, cases }: ConformanceTheme): string {
  const heads = [title, ...ALL.map(({ name }) => name)];
  return table(heads) + cases.map(({ id, promise }) => line([promise, ...ALL.map((backend) => cell(backend, id))])).join("");
}

function cell({ cannot }: ConformanceBackend, id: string): string {
  const reason = cannot[id];
  return reason === undefined ? "yes" : `no: ${reason}`;
}

function adviceRows(): string[][] {
  return Object.entries(ADVICE).map(([code, { means, todo }]) => {
    const [status, reason] = FAULTS[code as FaultCode];
    return [`\`${code}\``, `${status} ${reason}`, means, todo];
  });
}

function table(heads: readonly string[]): string {
  return line(heads) + line(heads.map(() => "---"));
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |\n`;
}
