/** Which failures of PostgreSQL are waited for, code by code: a result in hand outlives all but what no server takes. */
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { failureOf, isPassing } from '../records/postgres-failures.ts'
import type { Store } from '../records/store.ts'
import { describeWithCluster, sharedCluster } from './support/postgres.ts'
import { admitted, servingStore, taken } from './support/stores.ts'

const passing = {
  '08006': 'a connection that broke',
  '0A000': 'a plan from before a column was added',
  '25006': 'a server that is a standby now',
  '28000': 'a role that may not log in now',
  '28P01': 'a password that was rotated',
  '3D000': 'a database that is being put back',
  '40P01': 'a deadlock',
  '53100': 'a full disk',
  '53300': 'too many connections',
  '55P03': 'a lock that others hold',
  '57014': 'a statement that took too long',
  '57P01': 'a server that is shut down',
  '58030': 'a disk that fails',
  P0001: 'a trigger of the operator',
  XX000: 'an internal error',
}
const final = {
  '22003': 'a number out of range',
  '22021': 'text that is none',
  '23514': 'a constraint',
  '42501': 'a right that is missing',
  '42P01': 'a table that is missing',
  '54000': 'a value too large for its index',
}

// PR-22
test('failures of the way to the server are passing, whatever they are called', () => {
  const codes = ['ECONNREFUSED', 'EPROTO', 'CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'ENOSPC']
  for (const code of codes) {
    const failure = failureOf(Object.assign(new Error(code), { code }))
    expect(isPassing(failure), code).toBe(true)
  }
  const words = ['SASL: SCRAM-SERVER-FINAL-MESSAGE: server signature is missing', 'Query read timeout']
  for (const said of words) expect(failureOf(new Error(said))).toMatchObject({ message: said })
  const both = new AggregateError([new Error('connect ECONNREFUSED ::1:5432')])
  expect(failureOf(both)).toMatchObject({ message: 'connect ECONNREFUSED ::1:5432' })
})

test('faults of our own code do not pass', () => {
  expect(isPassing(new TypeError('x is undefined'))).toBe(false)
})

describeWithCluster('a result in hand', () => {
  // PR-22
  test('is stored in spite of whatever says nothing about it', async () => {
    const { store, refuse } = await refusing()
    for (const [code, what] of Object.entries(passing)) {
      const { id, token } = await running(store)
      await refuse(code, 2)
      const written = await store.transition(id, 'succeeded', { outputs: '{"y":2}' }, token)
      expect(written, what).toEqual({ changed: true, status: 'succeeded' })
    }
  })

  test('is refused at once, and alone, for what no server takes', async () => {
    const { store, refuse } = await refusing()
    for (const [code, what] of Object.entries(final)) {
      const { id, token } = await running(store)
      const [other] = await admitted(store)
      await refuse(code, 1_000)
      const settled = await Promise.allSettled([
        store.transition(id, 'succeeded', { outputs: '{"y":2}' }, token),
        store.cancel(other!),
      ])
      expect(settled, what).toMatchObject([
        { status: 'rejected', reason: { code } },
        { status: 'fulfilled', value: { outcome: 'canceled' } },
      ])
    }
  })

  // PR-22
  test('waits for a login that is refused after a rotation', async () => {
    const connectionString = await sharedCluster().newDatabase()
    const db = await client(connectionString)
    await db.query('create role rotated superuser login')
    const url = new URL(connectionString)
    url.username = 'rotated'
    const place = { kind: 'postgres', connectionString: url.href } as const
    const store = await servingStore(place, 'api-1', { writeDeadlineMs: 500 })
    const { id, token } = await running(store)
    await db.query(`alter role rotated nologin;
      select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotated'`)
    const write = () => store.transition(id, 'succeeded', { outputs: '1' }, token)
    await expect(write()).rejects.toMatchObject({ code: 'store_unavailable' })
    await db.query('alter role rotated login')
    await vi.waitFor(async () => expect(await write()).toMatchObject({ status: 'succeeded' }), 30_000)
  })
})

async function running(store: Store): Promise<{ id: string; token: number }> {
  const [id] = await admitted(store)
  return { id: id!, token: await taken(store, id!) }
}

/** A store whose database refuses the next so many successes with a code. */
async function refusing() {
  const connectionString = await sharedCluster().newDatabase()
  const store = await servingStore({ kind: 'postgres', connectionString }, 'api-1', {
    writeDeadlineMs: 30_000,
  })
  const db = await client(connectionString)
  await db.query(`
    create table refusals (code text, times int);
    insert into refusals values ('', 0);
    create sequence refused;
    create function refuse() returns trigger language plpgsql as $$
    declare told refusals; begin
      select * into told from refusals;
      if new.status = 'succeeded' and nextval('refused') <= told.times then
        raise exception 'refused' using errcode = told.code;
      end if;
      return new;
    end $$;
    create trigger refuse before update on predictions for each row execute function refuse()`)
  const refuse = (code: string, times: number) =>
    db.query(`alter sequence refused restart; update refusals set code = '${code}', times = ${times}`)
  return { store, refuse }
}

async function client(connectionString: string): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString })
  await opened.connect()
  onTestFinished(() => opened.end())
  return opened
}
