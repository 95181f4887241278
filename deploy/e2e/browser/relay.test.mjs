// What a person sees who comes back from a provider to the relay.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertAccessible } from "./accessibility.mjs";
import { call, launch, setting } from "./stack.mjs";

const RELAY = setting("OAUTH_RELAY_URL");

describe("the pages of the relay", () => {
  let browser, token;

  before(async () => {
    browser = await launch();
    const id = setting("MOZAIKS_RUNTIME_SERVICE_CLIENT_ID");
    const basic = Buffer.from(`${id}:${setting("MOZAIKS_RUNTIME_SERVICE_CLIENT_SECRET")}`).toString("base64");
    const response = await fetch(`${setting("AUTH_API_URL")}/oauth/token`, {
      method: "POST",
      headers: { authorization: `Basic ${basic}` },
      body: new URLSearchParams({ grant_type: "client_credentials", scope: "relay:wait" }),
    });
    token = (await response.json()).access_token;
  });

  after(() => browser?.close());

  /** A program waits; its answer comes when the browser has been at the callback. */
  async function waiting(state) {
    const poll = call(200, "GET", `${RELAY}/oauth/wait?state=${state}&timeout=20`, { token });
    const admin = setting("OAUTH_RELAY_ADMIN_URL");
    const deadline = Date.now() + 5000;
    while (!/^oauth_relay_waiters [1-9]/m.test(await (await fetch(`${admin}/metrics`)).text())) {
      assert.ok(Date.now() < deadline, "nobody waits");
    }
    return { poll };
  }

  test("a code that is delivered: Authorization Complete, and nothing of it stays in the address", async () => {
    const state = crypto.randomUUID();
    const { poll } = await waiting(state);
    const page = await browser.newPage();
    await page.goto(`${RELAY}/oauth/callback?code=a-code&state=${state}`);
    await page.getByRole("heading", { name: "Authorization Complete", exact: true }).waitFor();
    assert.equal((await poll).code, "a-code");
    assert.equal(new URL(page.url()).search, "", "the page takes code and state out of the address");
    await assertAccessible(page);
    await page.close();
  });

  test("a refusal, and a callback that nobody waits for: Authorization Failed", async () => {
    const state = crypto.randomUUID();
    const { poll } = await waiting(state);
    const page = await browser.newPage();
    const denied = await page.goto(`${RELAY}/oauth/callback?error=access_denied&state=${state}`);
    assert.equal(denied.status(), 200);
    await page.getByRole("heading", { name: "Authorization Failed", exact: true }).waitFor();
    await assertAccessible(page);
    assert.equal((await poll).raw.error, "access_denied");
    const missed = await page.goto(`${RELAY}/oauth/callback?code=a-code&state=${state}`);
    assert.equal(missed.status(), 404);
    await page.getByText("No client waiting").waitFor();
    await assertAccessible(page);
    await page.close();
  });
});
