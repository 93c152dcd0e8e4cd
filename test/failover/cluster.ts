import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type ControlCluster, openControlCluster } from "../fixtures/control-cluster.ts";
import { type PostgresServer, startPostgres } from "../fixtures/postgres.ts";

/** The address of loopback at which one control process reaches the database: by it the database knows who writes. */
const databaseHost = (at: number) => `127.0.0.${10 + at}`;
/** The address at which gateways reach it. */
const controlHost = (at: number) => `127.0.0.${20 + at}`;

export const LEASE_SECONDS = 6;
const CONTROLS = 3;
const GATEWAYS = 3;

export type FailoverCluster = ControlCluster & {
  postgres: PostgresServer;
  /** The connections between a control process (by its place in the list) and its database, or the gateways, lose every packet until the returned function is called. */
  cut(from: "database" | "gateways", at: number): () => void;
  query(sql: string): Promise<Record<string, unknown>[]>;
};

/** To be called in a network of its own that has nothing but loopback: it sets packet filters there. */
export async function openFailoverCluster(t: { teardown(end: () => unknown): void }, folder: string): Promise<FailoverCluster> {
  const postgres = await startPostgres(t, ["listen_addresses=*"]);
  const database = await postgres.database();
  const at = (host: string) => database.url.replace("127.0.0.1", host);
  const cluster = await openControlCluster(t, {
    folder,
    postgres: database,
    controls: CONTROLS,
    gateways: GATEWAYS,
    host: controlHost,
    databaseUrl: (place) => at(databaseHost(place)),
    env: { BERTH_LEASE_SECONDS: String(LEASE_SECONDS), BERTH_GATEWAYS_PLAIN: "on" },
  });
  const query: FailoverCluster["query"] = (sql) => postgres.query(sql, database.url);
  await query(AUDIT);
  return {
    ...cluster,
    postgres,
    query,
    cut: (from, place) => {
      const [host, port] =
        from === "database" ? [databaseHost(place), postgres.port] : [controlHost(place), Number(new URL(cluster.controls[place]?.url ?? "").port)];
      const rules = [
        ["-d", host, "--dport", String(port)],
        ["-s", host, "--sport", String(port)],
      ];
      const apply = (verb: "-A" | "-D") =>
        rules.forEach((rule) => execFileSync("iptables", ["-w", verb, "INPUT", "-p", "tcp", ...rule, "-j", "DROP"]));
      apply("-A");
      return () => apply("-D");
    },
  };
}

/** Notes each write of a process that does not lead: the connection's address shows who writes, and the row who leads. */
const AUDIT = `
  CREATE TABLE write_audit (at timestamptz NOT NULL, of_table text NOT NULL, writer inet, leader text NOT NULL, epoch bigint NOT NULL);
  CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO write_audit SELECT clock_timestamp(), TG_TABLE_NAME, inet_server_addr(), url, epoch FROM leadership
      WHERE split_part(split_part(url, '://', 2), ':', 1) <> host(inet_server_addr() + 10);
    RETURN NULL;
  END $$;
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('write_audit', 'leadership', 'control_processes') LOOP
      EXECUTE format('CREATE TRIGGER note_write AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION note_write()', name);
    END LOOP;
  END $$`;

/** The epochs of the leaders that started what runs, from the labels of the services. */
export function serviceEpochs(folder: string): Map<string, number> {
  const records = join(folder, "shared/processes");
  const names = readdirSync(records).filter((name) => name.endsWith(".json"));
  return new Map(
    names.flatMap((name) => {
      try {
        const { service, labels } = JSON.parse(readFileSync(join(records, name), "utf8")) as { service: string; labels: { epoch?: number } };
        return [[service, labels.epoch ?? 0] as const];
      } catch {
        return [];
      }
    }),
  );
}
