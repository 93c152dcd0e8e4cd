/** A name and password for a registry. */
export type Login = { username: string; password: string };

export function basicAuthorization({ username, password }: Login): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}
