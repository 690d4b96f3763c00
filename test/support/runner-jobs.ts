/** Jobs for runner tests: the tiny model server with a behaviour, and one target per runner to run it on. */
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Platform } from '../../contracts/validation-serving.ts'
import { deadlineIn } from '../../protocols/deadline.ts'
import type { ServingBinary } from '../../protocols/serving-binary.ts'
import { makeEndpointRunner } from '../../runners/endpoint.ts'
import { type Job, jobKeyOf } from '../../runners/job.ts'
import type { RunnerOptions } from '../../runners/lifecycle.ts'
import { makeProcessRunner, sweepProcesses } from '../../runners/process.ts'
import type { IsOver, Runner, Sweep } from '../../runners/runner.ts'
import { json, startScriptedServer } from './scripted-server.ts'

export type Behaviour =
  | 'good'
  | 'crash'
  | 'exits-0'
  | 'stubborn'
  | 'lingers'
  | 'children'
  | 'hog'
  | 'never-ready'
  | 'load-failed'
  | 'no-port'
  | 'dies-of-query'

export const tinyServer = fileURLToPath(new URL('./fixtures/tiny-model-server.mjs', import.meta.url))

/** A job of the tiny model server; what a test cares about, it overrides. */
export function tinyJob(
  platform: Platform,
  behave: Behaviour = 'good',
  over: Partial<Omit<Job, 'binary'>> & { binary?: Partial<ServingBinary> } = {},
): Job {
  const ref = over.ref ?? {
    workflowId: `validation-${randomUUID()}`,
    runId: randomUUID(),
    binary: 0,
    attempt: 1,
  }
  const { binary, ...rest } = over
  return {
    ref,
    key: jobKeyOf(ref),
    modelName: 'tiny',
    model: { path: tmpdir(), digest: `sha256:${'0'.repeat(64)}`, version: '1' },
    platform,
    limits: {},
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    host: 'test-host',
    ...rest,
    binary: {
      kind: 'open-inference-v2',
      index: 0,
      ports: { http: 8080 },
      modelMountPath: '/mnt/models',
      ...binary,
      env: [{ name: 'BEHAVE', value: behave }, ...(binary?.env ?? [])],
    },
  }
}

/** Where the contract is tested: makes runners of one kind, and sees the platform without them. */
export interface RunnerTarget {
  kind: Platform['kind']
  /** Ends what the file started. */
  close(): Promise<void>
  job(behave?: Behaviour, over?: Parameters<typeof tinyJob>[2]): Job
  /** A fresh runner, as another process would make it. */
  runner(job: Job, options?: RunnerOptions): Runner
  /** Reaps what has expired by `now` or is over; absent where there is nothing to reap. */
  sweep?: (now: Date, isOver?: IsOver) => Promise<Sweep>
}

export function processTarget(): RunnerTarget & { root: string } {
  const root = mkdtempSync(join(tmpdir(), 'perdure-jobs-'))
  const settings = { root }
  return {
    kind: 'process',
    root,
    async close() {
      rmSync(root, { recursive: true, force: true })
    },
    job: (behave, over = {}) =>
      tinyJob({ kind: 'process' }, behave, {
        ...over,
        binary: { command: [process.execPath, tinyServer], ...over.binary },
      }),
    runner: (job, options) => makeProcessRunner(settings, job, { pollIntervalMs: 100, ...options }),
    sweep: (now, isOver) => sweepProcesses(settings, now, isOver),
  }
}

export async function endpointTarget(): Promise<RunnerTarget> {
  const server = await startScriptedServer(json({}))
  return {
    kind: 'endpoint',
    close: () => server.close(),
    job: (behave, over) =>
      tinyJob({ kind: 'endpoint', address: server.address, addresses: {}, lostAfterPolls: 3 }, behave, over),
    runner: (job, options) => makeEndpointRunner(job, { pollIntervalMs: 100, ...options }),
  }
}

/** A folder with one small file, as a model. */
export function modelFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'perdure-model-'))
  writeFileSync(join(path, 'weights.txt'), '1 2 3')
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

/** Generous: test machines are busy. */
export const soon = () => deadlineIn(60_000)
