/** 32 random bytes in base64url are 43 characters; a kind of token to come may be longer, and say what it is. */
const SESSION_TOKEN = /^[\w.~-]{43,512}$/;

/** Whether a text can be the token of a session of berth's own: what cannot is no token, without a look into the store. */
export function isSessionToken(text: string): boolean {
  return SESSION_TOKEN.test(text);
}
