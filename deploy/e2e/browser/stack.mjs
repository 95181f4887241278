// The running stack as a browser meets it: the variables of `.local/demo.env`, a login, and Chromium.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

/** A variable of the stack; without it there is nothing to test. */
export function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: start the stack with \`make up\`, then \`make e2e-local\``);
  return value;
}

/** The machine's Chromium: `CHROMIUM`, or where Debian and Ubuntu have it. */
export async function launch() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const executablePath = places.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("no Chromium here: apt-get install -y chromium, or set CHROMIUM");
  // Its sandbox cannot be made as root or in most containers; only pages of this stack are opened.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A JSON request, which has to be answered with this status. */
export async function call(status, method, url, { token, body } = {}) {
  const headers = { accept: "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (body) headers["content-type"] = "application/json";
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body), redirect: "manual" });
  const text = await response.text();
  if (response.status !== status) throw new Error(`${method} ${new URL(url).pathname}: ${response.status} instead of ${status}: ${text}`);
  return JSON.parse(text);
}

/** The access token of `ALICE` or `BOB`. */
export async function logIn(person) {
  const body = { email: setting(`${person}_EMAIL`), password: setting(`${person}_PASSWORD`) };
  const answer = await call(200, "POST", `${setting("AUTH_API_URL")}/auth/login`, { body });
  return answer.access_token;
}
