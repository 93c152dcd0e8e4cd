import t from "tap";
import { startPostgres } from "../../fixtures/postgres.ts";
import { databasesWithSchema, waitForStatements } from "../../fixtures/store-kinds.ts";
import { useDatabase } from "./fixtures/open-api-fixture.ts";

/** The tests of lists, filters and publishing again, with their stores in PostgreSQL: those whose statements PostgreSQL may take another way. */
const server = await startPostgres(t);
waitForStatements();
const fresh = databasesWithSchema(server);
useDatabase(async () => ({ postgres: await fresh() }));
for (const name of ["containers", "images", "lists", "packages"]) await import(`./${name}.test.ts`);
