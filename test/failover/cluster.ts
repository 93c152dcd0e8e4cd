import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ControlCluster, openControlCluster } from "../fixtures/control-cluster.ts";
import { type PostgresServer, startPostgres } from "../fixtures/postgres.ts";
import { type DoubleWatch, watchDoubles } from "./doubles.ts";
import { type FailoverNetworks, openNetworks } from "./networks.ts";

const CONTROLS = 3;
const GATEWAYS = 3;

export type FailoverCluster = ControlCluster & {
  leaseSeconds: number;
  postgres: PostgresServer;
  networks: FailoverNetworks;
  /** Runs the containers of the load, and notes which of them runs twice. */
  instances: DoubleWatch;
  query(sql: string): Promise<Record<string, unknown>[]>;
};

/** To be called in a network of its own. Each control process and each gateway has a network and a wall clock of its own there. */
export async function openFailoverCluster(
  t: { teardown(end: () => unknown): void },
  { folder, leaseSeconds }: { folder: string; leaseSeconds: number },
): Promise<FailoverCluster> {
  const instances = watchDoubles(t, join(folder, "instances"));
  const networks = await openNetworks(t, { folder, controls: CONTROLS, gateways: GATEWAYS });
  const access = join(folder, "pg_hba.conf");
  writeFileSync(access, "local all all trust\nhost all all all trust\n");
  const postgres = await startPostgres(t, ["listen_addresses=*"], { "pg_hba.conf": access });
  const database = await postgres.database();
  const cluster = await openControlCluster(t, {
    folder,
    postgres: { ...database, url: `${database.url.replace("127.0.0.1", networks.databaseHost)}?sslmode=disable` },
    controls: CONTROLS,
    gateways: GATEWAYS,
    places: networks,
    env: { BERTH_LEASE_SECONDS: String(leaseSeconds), BERTH_GATEWAYS_PLAIN: "on", BERTH_CONTROL_PLAIN: "on" },
  });
  const query: FailoverCluster["query"] = (sql) => postgres.query(sql, database.url);
  await query(AUDIT);
  return { ...cluster, leaseSeconds, postgres, networks, instances, query };
}

/** Notes each write of a process that does not lead: the connection's address shows who writes, and the row who leads. */
const AUDIT = `
  CREATE TABLE write_audit (at timestamptz NOT NULL, of_table text NOT NULL, writer inet, leader text NOT NULL, epoch bigint NOT NULL);
  CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO write_audit SELECT clock_timestamp(), TG_TABLE_NAME, inet_client_addr(), url, epoch FROM leadership
      WHERE split_part(split_part(url, '://', 2), ':', 1) <> host(inet_client_addr());
    RETURN NULL;
  END $$;
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('write_audit', 'leadership', 'control_processes') LOOP
      EXECUTE format('CREATE TRIGGER note_write AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION note_write()', name);
    END LOOP;
  END $$`;
