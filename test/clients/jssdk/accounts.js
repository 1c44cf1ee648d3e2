// Accounts, sessions and devices.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createClient, HttpApiEvent } from "matrix-js-sdk";
import { Member } from "./member.js";
import { fetchFn, refuse, tolerate, until } from "./watch.js";

export const accounts = (home) => describe("accounts", () => {
    const open = () => createClient({ baseUrl: home.server.url, fetchFn });

    test("registering goes through the interactive stages", async () => {
        refuse("POST /v3/register 401 flows");
        const client = open();
        assert.equal(await client.isUsernameAvailable("dora"), true);
        const body = { username: "dora", password: "a long password", initial_device_display_name: "Dora's laptop" };
        const stages = await client.registerRequest(body).then(() => assert.fail("no stage was asked for"), (err) => err.data);
        assert.deepEqual(stages.flows, [{ stages: ["m.login.dummy"] }]);
        const session = await client.registerRequest({ ...body, auth: { type: "m.login.dummy", session: stages.session } });
        assert.equal(session.user_id, "@dora:localhost");

        refuse("GET /v3/register/available 400 M_USER_IN_USE", "POST /v3/register 400 M_USER_IN_USE", "POST /v3/register 400 M_INVALID_USERNAME");
        assert.equal(await client.isUsernameAvailable("dora"), false);
        await assert.rejects(client.registerRequest({ ...body, auth: { type: "m.login.dummy" } }), { errcode: "M_USER_IN_USE" });
        await assert.rejects(client.registerRequest({ ...body, username: "Döra", auth: { type: "m.login.dummy" } }), { errcode: "M_INVALID_USERNAME" });
    });

    test("a password opens a second device, a wrong one nothing", async () => {
        refuse("POST /v3/login 403 M_FORBIDDEN", "DELETE /v3/devices/TABLET 401 flows", "GET /v3/account/whoami 401 M_UNKNOWN_TOKEN");
        const dora = await Member.login(home.server, "dora", "a long password", { device_id: "PHONE", initial_device_display_name: "Phone" });
        const tablet = await Member.login(home.server, "dora", "a long password", { device_id: "TABLET" });
        assert.deepEqual((await open().loginFlows()).flows.map((f) => f.type).includes("m.login.password"), true);
        await assert.rejects(Member.login(home.server, "dora", "another password"), { errcode: "M_FORBIDDEN" });
        const me = await dora.client.whoami();
        assert.equal(me.user_id, "@dora:localhost");
        assert.equal(me.device_id, "PHONE");

        await dora.client.setDeviceDetails("PHONE", { display_name: "Dora's phone" });
        const { devices } = await dora.client.getDevices();
        assert.deepEqual(devices.map((d) => d.display_name ?? "").sort(), ["", "Dora's laptop", "Dora's phone"]);

        const stage = await dora.client.deleteDevice("TABLET").then(() => assert.fail("no password was asked for"), (err) => err.data);
        await dora.client.deleteDevice("TABLET", {
            type: "m.login.password", session: stage.session, identifier: { type: "m.id.user", user: "dora" }, password: "a long password",
        });
        await assert.rejects(tablet.client.whoami(), { errcode: "M_UNKNOWN_TOKEN" });
        assert.equal((await dora.client.getDevices()).devices.length, 2);
    });

    test("the first sync finishes and stays", async () => {
        const dora = await Member.login(home.server, "dora", "a long password");
        await dora.start();
        assert.ok(dora.client.pushRules.global.underride.length > 0);
        await until("a second sync", () => dora.client.getSyncState() === "SYNCING");
        dora.stop();
    });

    test("an access token is renewed and the old one ends", async () => {
        const first = (await Member.login(home.server, "dora", "a long password", { refresh_token: true })).session;
        assert.ok(first.refresh_token && first.expires_in_ms > 0);

        // By itself the library renews tokens of OAuth sessions only; others it renews when it is told to.
        const next = await open().refreshToken(first.refresh_token);
        assert.notEqual(next.access_token, first.access_token);
        const renewed = new Member(home.server, { ...first, access_token: next.access_token });
        assert.equal((await renewed.client.whoami()).user_id, "@dora:localhost");
        assert.equal((await renewed.client.getDevice(first.device_id)).device_id, first.device_id);

        // Whoever repeats a used refresh token, a thief perhaps, gets nothing.
        refuse("POST /v3/refresh 401 M_UNKNOWN_TOKEN");
        await assert.rejects(open().refreshToken(first.refresh_token), { errcode: "M_UNKNOWN_TOKEN" });
    });

    test("logging out ends a client that syncs", async () => {
        refuse("GET /v3/sync 401 M_UNKNOWN_TOKEN");
        // What the SDK writes when a session ends elsewhere, which is what happens here.
        tolerate(/Token no longer valid - assuming logout/);
        tolerate(/\/sync error.*M_UNKNOWN_TOKEN/);
        tolerate(/Unable to refresh token - no refresh token or OAuth2 client config/);
        const dora = await Member.login(home.server, "dora", "a long password");
        await dora.start();
        let ended = false;
        dora.client.on(HttpApiEvent.SessionLoggedOut, () => { ended = true; });
        await new Member(home.server, dora.session).client.logout();
        await until("the client learns that it is logged out", () => ended);
        dora.stop();
        await assert.rejects(dora.client.whoami(), { errcode: "M_UNKNOWN_TOKEN" });
    });

    test("a new password ends the other devices, and deactivation the account", async () => {
        refuse("POST /v3/account/deactivate 401 flows");
        const dora = await Member.login(home.server, "dora", "a long password");
        const other = await Member.login(home.server, "dora", "a long password");
        const proof = (password) => ({ type: "m.login.password", identifier: { type: "m.id.user", user: "dora" }, password });
        await dora.client.setPassword(proof("a long password"), "a longer password", true);
        await assert.rejects(other.client.whoami(), { errcode: "M_UNKNOWN_TOKEN" });
        await dora.client.whoami();
        await assert.rejects(Member.login(home.server, "dora", "a long password"), { errcode: "M_FORBIDDEN" });
        const stage = await dora.client.deactivateAccount().then(() => assert.fail("no password was asked for"), (err) => err.data);
        await dora.client.deactivateAccount({ ...proof("a longer password"), session: stage.session });
        await assert.rejects(Member.login(home.server, "dora", "a longer password"), { errcode: "M_FORBIDDEN" });
    });
});
