import type { Sql } from "./sql.ts";

export type Groups = ReturnType<typeof groupsIn>;

/** Which users are in which group. A group is its name and its members: it is there while it has any. */
export function groupsIn(sql: Sql) {
  return {
    /** The names of a user's groups, in order. */
    ofUser: (userId: string) =>
      sql.all<{ name: string }>("SELECT name FROM group_members WHERE user_id = ? ORDER BY name", userId).map(({ name }) => name),
    /** The user is in these groups and no others from now on. */
    put: (userId: string, names: readonly string[]) =>
      sql.transaction(() => {
        sql.run("DELETE FROM group_members WHERE user_id = ?", userId);
        for (const name of new Set(names)) sql.run("INSERT INTO group_members (name, user_id) VALUES (?, ?)", name, userId);
      }),
    /** Whether two users are in a group together. */
    shared: (one: string, other: string) =>
      sql.all(
        "SELECT 1 FROM group_members AS mine JOIN group_members AS theirs USING (name) WHERE mine.user_id = ? AND theirs.user_id = ? LIMIT 1",
        one,
        other,
      ).length > 0,
  };
}
