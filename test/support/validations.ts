/** Validations in the test's own process: real Temporal, real store, the process runner, scripted servers as candidates. */
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { expect, inject, onTestFinished, vi } from 'vitest'
import { makeValidationService, type ValidationRules, type ValidationService } from '../../api/validations.ts'
import { parseValidation, type ValidationRequest } from '../../contracts/validation.ts'
import { makeHeldCalls } from '../../records/held-calls.ts'
import { openSqliteStore } from '../../records/sqlite.ts'
import type { Store, StoredAttempt, StoredValidation } from '../../records/store.ts'
import { makeRunners, type Runners } from '../../runners/index.ts'
import { readJobFile } from '../../runners/job-folder.ts'
import { isAlive } from '../../runners/process-table.ts'
import { workflowBundle } from '../../worker/bundle.ts'
import type { ValidationSettings } from '../../worker/validation.ts'
import { startWorkers, type Workers } from '../../worker/worker.ts'
import { bundleFolder, temporaryFolder } from './folders.ts'
import { installRuntimeOnce } from './in-process.ts'

export const patience = { timeout: 60_000, interval: 50 }

export interface Validations {
  service: ValidationService
  store: Store
  client: Client
  taskQueue: string
  host: string
  jobsRoot: string
  /** Of this host; tests put their own in front of them. */
  runners: Runners
  startWorker(settings?: Partial<ValidationSettings>): Promise<Workers>
  /** Accepts a request, whose defaults are filled in, and tells its id. */
  submit(request: unknown): Promise<string>
  /** The record once it has ended. */
  ended(id: string, withinMs?: number): Promise<StoredValidation>
  /** Names of the activities that its workflow has scheduled, in order. */
  steps(id: string): Promise<string[]>
  /** Waits until the validation is in that phase. */
  reaches(id: string, phase: StoredValidation['progress']['phase']): Promise<void>
  attempts(id: string): Promise<StoredAttempt[]>
  /** Names of jobs that this host has been asked to run, and what of them is left. */
  jobs(): Promise<{ name: string; alive: boolean }[]>
}

const candidate = fileURLToPath(new URL('../servers/candidate.mjs', import.meta.url))

/** A validation of the scripted candidate under the process runner; `env` as its file knows it. */
export function candidateRequest(
  env: Record<string, string> = {},
  over: Record<string, unknown> & { binary?: Record<string, unknown>; validationSpec?: object } = {},
): Record<string, unknown> {
  const { binary, validationSpec, ...rest } = over
  return {
    model: { path: candidate },
    servingSpec: {
      modelName: 'candidate',
      platform: { kind: 'process' },
      binary: {
        kind: 'open-inference-v2',
        command: [process.execPath, candidate],
        env: Object.entries(env).map(([name, value]) => ({ name, value })),
        ...binary,
      },
    },
    validationSpec: {
      numTries: 2,
      pollIntervalSeconds: 0.2,
      stopGraceSeconds: 1,
      retryDelay: { initialSeconds: 0.05, maxSeconds: 0.1 },
      ...validationSpec,
    },
    ...rest,
  }
}

/** What the candidate answers to a request: twice the input. */
export const doubling = {
  request: { inputs: [{ name: 'x', shape: [2], datatype: 'FP64', data: [1, 2] }] },
  outputs: { doubled: { data: [2, 4], shape: [2], datatype: 'FP64' } },
}

export async function startValidations(
  options: { worker?: boolean; rules?: ValidationRules } = {},
): Promise<Validations> {
  installRuntimeOnce()
  const dataDir = temporaryFolder('validations')
  const address = inject('temporalAddress')
  const taskQueue = `test-${randomUUID()}`
  const host = `host-${randomUUID().slice(0, 8)}`
  const jobsRoot = join(dataDir, 'jobs')
  const store = await openSqliteStore({ dataDir })
  const processId = `worker-${randomUUID().slice(0, 8)}`
  await store.registerProcess(processId, 'worker')
  const held = makeHeldCalls(store, processId)
  const connection = await Connection.connect({ address })
  const client = new Client({ connection })
  const service = makeValidationService(
    store.validations,
    { connection: { address }, namespace: 'default', taskQueue },
    options.rules,
  )
  const runners = makeRunners({ process: { root: jobsRoot, env: { PATH: process.env.PATH ?? '' } } })
  const running: Workers[] = []

  const result: Validations = {
    service,
    store,
    client,
    taskQueue,
    host,
    jobsRoot,
    runners,
    async startWorker(settings = {}) {
      const workers = startWorkers({
        store,
        held,
        processId: 'nobody',
        limits: { taskTimeoutMs: 1000, maxAttempts: 1 },
        resolve: () => unused(),
        platform: () => unused(),
        connection: { address },
        namespace: 'default',
        taskQueue,
        queue: 'none',
        bundle: await workflowBundle(bundleFolder),
        concurrency: 1,
        retentionMs: 3_600_000,
        webhooks: { secrets: [], rules: { allowHttp: false, allowCidrs: [], allowPorts: [] } },
        validation: { runners, host, secret: () => undefined, sweep: async () => 0, ...settings },
        info: () => undefined,
        warn: () => undefined,
      })
      running.push(workers)
      await workers.started
      return workers
    },
    async submit(request) {
      const { spec, faults } = parseValidation(request)
      expect(faults).toBeUndefined()
      return (await service.submit(spec as ValidationRequest)).id
    },
    async ended(id, withinMs = patience.timeout) {
      await vi.waitFor(
        async () => {
          const stored = await store.validations.get(id)
          expect(stored?.status, JSON.stringify(stored?.progress)).toBe('ended')
        },
        { ...patience, timeout: withinMs },
      )
      return (await store.validations.get(id)) as StoredValidation
    },
    async reaches(id, phase) {
      await vi.waitFor(async () => {
        expect((await store.validations.get(id))?.progress.phase).toBe(phase)
      }, patience)
    },
    async steps(id) {
      const { events } = await client.workflow.getHandle(id).fetchHistory()
      return (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: scheduled }) =>
        scheduled?.activityType?.name ? [scheduled.activityType.name] : [],
      )
    },
    attempts: (id) => store.validations.attempts(id),
    jobs: () => jobsIn(jobsRoot),
  }
  onTestFinished(async () => {
    for (const workers of running) await workers.stop()
    held.close()
    await service.close()
    await store.close()
    await connection.close()
  }, 90_000)
  if (options.worker !== false) await result.startWorker()
  return result
}

export async function jobsIn(root: string): Promise<{ name: string; alive: boolean }[]> {
  let names: string[] = []
  try {
    names = readdirSync(root)
  } catch {
    return []
  }
  return Promise.all(
    names.map(async (name) => {
      const server = await readJobFile(join(root, name), 'server.json')
      return { name, alive: server !== undefined && (await isAlive(server.pid, server.startTime)) }
    }),
  )
}

function unused(): never {
  throw new Error('no predictions here')
}
