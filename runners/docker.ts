/** Runs a model server as a container of one Docker Engine. Owns the container `iv-<jobKey>`; touches no other. */
import { readFile } from 'node:fs/promises'
import type { Container, ContainerInspectInfo } from 'dockerode'
import { ServiceError } from '../contracts/errors.ts'
import type { Observation } from '../contracts/validation-record.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { type Deadline, deadlineIn, sleepWithin } from '../protocols/deadline.ts'
import { containerOf, observationOf, plainOutput } from './docker-container.ts'
import { type DockerSettings, engineOf, engineText, statusOf, unavailable } from './docker-engine.ts'
import { type Job, jobNameOf, jobSpecDigest } from './job.ts'
import { isLeft } from './leftovers.ts'
import { makeRunner, type RunnerOptions, textOf } from './lifecycle.ts'
import { tailOf } from './output.ts'
import type { IsOver, JobPlatform, Removal, Runner, Sweep } from './runner.ts'

const removalPollMs = 100
const appearMs = 10_000
const logLines = 20_000

export function makeDockerRunner(settings: DockerSettings, job: Job, options?: RunnerOptions): Runner {
  return makeRunner(job, makeDockerPlatform(settings, job), options)
}

function makeDockerPlatform(settings: DockerSettings, job: Job): JobPlatform {
  const platform = dockerOf(job)
  const engine = engineOf(settings, platform)
  const container = engine.getContainer(jobNameOf(job.key))
  let peakMemoryBytes: number | null = null

  return {
    async create() {
      let adopted = false
      try {
        await engine.createContainer(containerOf(job, platform))
      } catch (error) {
        if (statusOf(error) !== 409) throw creationError(error)
        adopted = true
      }
      const info = adopted ? await appearing(container) : await inspectOurs(container, job.key)
      if (info?.Config.Labels['infra-validation/spec-digest'] !== jobSpecDigest(job)) {
        throw new ServiceError('CONFIG_INVALID', 'another container has the name of this attempt')
      }
      // An earlier delivery may have died between creating and starting.
      if (info.State.Status === 'created') await startOrRemove(container)
      return { jobKey: job.key, platformRef: info.Id, createdAt: info.Created, adopted }
    },

    async inspect() {
      const info = await inspectOurs(container, job.key)
      if (info === undefined) return undefined
      const seen: Observation = observationOf(info, job, platform)
      if (seen.state === 'Running') {
        peakMemoryBytes = Math.max(peakMemoryBytes ?? 0, (await peakOf(container, info.Id)) ?? 0) || null
      }
      return { peakMemoryBytes, ...seen }
    },

    async logs(tailBytes) {
      try {
        const query = { stdout: true, stderr: true, follow: false as const, tail: logLines }
        return tailOf(plainOutput(await container.logs(query)), tailBytes)
      } catch (error) {
        if (statusOf(error) === 404) return undefined
        throw unavailable(error)
      }
    },

    async remove(graceSeconds, deadline) {
      const patient = engineOf(settings, platform, graceSeconds).getContainer(jobNameOf(job.key))
      return await removeContainer(patient, job.key, graceSeconds, deadline)
    },

    removeAgainMs: (round) => Math.min(15_000, 1000 * 2 ** (round - 1)),
    close() {},
  }
}

function dockerOf(job: Job): PlatformOf<'docker'> {
  if (job.platform.kind === 'docker') return job.platform
  throw new ServiceError('CONFIG_INVALID', 'servingSpec.platform.kind: is not docker')
}

/** A busy port or a missing GPU runtime shows at start, with the container already created: it is removed again. */
async function startOrRemove(container: Container): Promise<void> {
  try {
    await container.start()
  } catch (error) {
    // 304: another delivery of this start was faster.
    if (statusOf(error) === 304) return
    await container.remove({ v: true, force: true }).catch(() => undefined)
    throw creationError(error)
  }
}

const specFaults = [
  /could not select device driver/,
  /executable file not found/,
  /OCI runtime create failed/,
  /mount.* (denied|does not exist)/,
]

function creationError(error: unknown): ServiceError {
  const [status, text] = [statusOf(error), engineText(error)]
  if (status === 404 && /no such image/i.test(text)) {
    return new ServiceError('IMAGE_PULL_FAILED', text, { cause: error })
  }
  if (status === 400 || status === 404 || specFaults.some((fault) => fault.test(text))) {
    return new ServiceError('CONFIG_INVALID', `the engine refuses the container: ${text}`, { cause: error })
  }
  return unavailable(error)
}

/** The container of that name if it carries our label; undefined when there is none. */
async function inspectOurs(container: Container, key: string): Promise<ContainerInspectInfo | undefined> {
  try {
    const info = await container.inspect()
    return info.Config.Labels['infra-validation/job'] === key ? info : undefined
  } catch (error) {
    if (statusOf(error) === 404) return undefined
    throw unavailable(error)
  }
}

/** The engine reserves a name a little before the container shows under it: another delivery is creating it. */
async function appearing(container: Container): Promise<ContainerInspectInfo> {
  const deadline = deadlineIn(appearMs)
  for (;;) {
    try {
      return await container.inspect()
    } catch (error) {
      if (statusOf(error) !== 404 || deadline.passed) throw unavailable(error)
    }
    await sleepWithin(removalPollMs, deadline)
  }
}

async function removeContainer(
  container: Container,
  key: string,
  graceSeconds: number,
  deadline: Deadline,
): Promise<Removal> {
  let killed = false
  if ((await inspectOurs(container, key)) === undefined) return { gone: true, killed, leftovers: [] }
  try {
    await container.stop({ t: Math.ceil(graceSeconds) })
    const { State: state } = await container.inspect()
    killed = state.ExitCode === 137 && !state.OOMKilled
  } catch (error) {
    // 304: it had ended before; 404: somebody was faster.
    if (![304, 404].includes(statusOf(error) ?? 0)) throw unavailable(error)
  }
  try {
    await container.remove({ v: true, force: true })
  } catch (error) {
    // 409: a removal is under way.
    if (![404, 409].includes(statusOf(error) ?? 0)) throw unavailable(error)
  }
  const verify = deadlineIn(Math.max(5000, Math.min(30_000, deadline.leftMs())))
  while ((await inspectOurs(container, key)) !== undefined) {
    if (verify.passed) return { gone: false, killed, leftovers: [`container ${jobNameOf(key)}`] }
    await sleepWithin(removalPollMs, verify)
  }
  return { gone: true, killed, leftovers: [] }
}

/** High-water mark from the cgroup where this host shows it, else a sample of the engine's statistics. */
async function peakOf(container: Container, id: string): Promise<number | undefined> {
  for (const path of [
    `/sys/fs/cgroup/system.slice/docker-${id}.scope/memory.peak`,
    `/sys/fs/cgroup/docker/${id}/memory.peak`,
    `/sys/fs/cgroup/memory/docker/${id}/memory.max_usage_in_bytes`,
  ]) {
    const bytes = Number(await readFile(path, 'utf8').catch(() => 'NaN'))
    if (Number.isFinite(bytes)) return bytes
  }
  const stats = await container.stats({ stream: false, 'one-shot': true }).catch(() => undefined)
  return stats?.memory_stats.max_usage ?? stats?.memory_stats.usage
}

/** Removes containers of this engine whose time or validation is over, whoever made them. */
export async function sweepDocker(settings: DockerSettings, now: Date, isOver?: IsOver): Promise<Sweep> {
  const engine = engineOf(settings, { clientTimeoutSeconds: 60 })
  const sweep: Sweep = { removed: [], failed: [] }
  const filters = { label: ['infra-validation/job', 'infra-validation/expires-at'] }
  const listed = await engine.listContainers({ all: true, filters }).catch((error: unknown) => {
    throw unavailable(error)
  })
  for (const { Labels: labels } of listed) {
    const key = labels['infra-validation/job'] ?? ''
    if (!(await isLeft(labels, now, isOver))) continue
    const job = jobNameOf(key)
    try {
      const removal = await removeContainer(engine.getContainer(job), key, 10, deadlineIn(30_000))
      if (removal.gone) sweep.removed.push(job)
      else sweep.failed.push({ job, error: removal.leftovers.join(', ') })
    } catch (error) {
      sweep.failed.push({ job, error: textOf(error) })
    }
  }
  return sweep
}
