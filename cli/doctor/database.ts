import { configuredPostgres, CONNECTIONS_BESIDE_STORE } from "../../control/store/postgres/address.ts";
import { inspectPostgres } from "../../control/store/postgres/inspect.ts";
import { Fault } from "../../lib/fault.ts";
import { type CheckContext, type CheckProblem, type CheckResult, failure, warning } from "./check.ts";

/** A wake takes about ten round trips. */
const SLOW_MS = 5;

/** PostgreSQL, if it has the store: whether it answers, is durable and near. Undefined: SQLite has it. */
export async function checkDatabase({ settings, clock }: Pick<CheckContext, "settings" | "clock">): Promise<CheckResult | undefined> {
  const postgres = configuredPostgres(settings.database);
  if (!postgres) return undefined;
  const problems: CheckProblem[] = [];
  try {
    const report = await inspectPostgres(postgres, clock);
    const { name, version, steps, ownSteps, roundTripMs, isDurable, isStandby, bytes, connections } = report;
    if (isStandby) problems.push(failure(`${name} is a standby, which takes no writes.`, "Set BERTH_DATABASE_URL to the primary server."));
    if (!isDurable)
      problems.push(warning(`${name} may lose acknowledged changes: fsync or synchronous_commit is off.`, "Set both to on in PostgreSQL."));
    if (steps !== undefined && steps > ownSteps)
      problems.push(
        failure(`A newer berth wrote the store (version ${steps}; this one knows ${ownSteps}).`, "Run the same version on all machines."),
      );
    if (roundTripMs > SLOW_MS)
      problems.push(
        warning(`A round trip to ${name} takes ${roundTripMs.toFixed(1)} ms; each start takes about ten.`, "Run control near the database."),
      );
    const processes = Math.max(1, report.processes);
    const needed = processes * (postgres.connections + CONNECTIONS_BESIDE_STORE);
    if (needed > connections)
      problems.push(
        warning(
          `${name} has ${connections} connections for users; ${processes === 1 ? "one control process" : `${processes} control processes`} may need ${needed}.`,
          "Raise max_connections of PostgreSQL, or lower BERTH_DATABASE_CONNECTIONS.",
        ),
      );
    const what = steps === undefined ? "no store yet" : `${(bytes / 1_048_576).toFixed(0)} MB`;
    return { says: `PostgreSQL ${version} at ${name}, ${what}, ${roundTripMs.toFixed(1)} ms a round trip`, problems };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { says: "not reachable", problems: [failure(error.message, "Check the server, BERTH_DATABASE_URL and the password file.")] };
  }
}
