/** Resolves an image to what does not move: pulled if the policy says so, then named by its digest. Starts nothing. */
import type Docker from 'dockerode'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import { type Deadline, pollPauseMs, sleepWithin } from '../protocols/deadline.ts'
import { type DockerSettings, engineOf, engineText, statusOf, unavailable } from './docker-engine.ts'
import type { ResolvedImage } from './runner.ts'

/**
 * Throws `IMAGE_PULL_FAILED` at once when the image is not found, denied or not to be pulled, and when the deadline has
 * passed over tries that the engine reports as failed; `PLATFORM_UNAVAILABLE` when the engine itself does not answer.
 */
export async function resolveDockerImage(
  settings: DockerSettings,
  platform: PlatformOf<'docker'>,
  image: string,
  deadline: Deadline,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const engine = engineOf(settings, platform)
  const present = await inspectImage(engine, image)
  if (present !== undefined && platform.pullPolicy !== 'Always') return identityOf(image, present)
  if (platform.pullPolicy === 'Never') {
    throw new ServiceError(
      'IMAGE_PULL_FAILED',
      `${image} is not on this engine, and the pull policy is Never`,
    )
  }
  await pull(engineOf(settings, platform, deadline.leftMs() / 1000), image, deadline, signal)
  const pulled = await inspectImage(engine, image)
  if (pulled === undefined)
    throw new ServiceError('IMAGE_PULL_FAILED', `${image} is not there after its pull`)
  return identityOf(image, pulled)
}

type ImageInfo = Pick<Docker.ImageInspectInfo, 'Id' | 'RepoDigests'>

function identityOf(image: string, info: ImageInfo): ResolvedImage {
  const repository = repositoryOf(image)
  const pinned = (info.RepoDigests ?? []).find((entry) =>
    sameRepository(entry.split('@')[0] ?? '', repository),
  )
  const digest = pinned?.split('@')[1]
  if (digest !== undefined) return { image: `${repository}@${digest}`, digest, digestKind: 'manifest' }
  return { image: info.Id, digest: info.Id, digestKind: 'imageId' }
}

/** `host:5000/name:tag@sha256:…` → `host:5000/name`. */
function repositoryOf(image: string): string {
  const [name = ''] = image.split('@')
  const colon = name.lastIndexOf(':')
  return colon > name.lastIndexOf('/') ? name.slice(0, colon) : name
}

/** The engine lists Docker Hub's names short or long. */
function sameRepository(a: string, b: string): boolean {
  const full = (name: string) => name.replace(/^(index\.)?docker\.io\//, '').replace(/^library\//, '')
  return full(a) === full(b)
}

async function inspectImage(engine: Docker, image: string): Promise<ImageInfo | undefined> {
  try {
    return await engine.getImage(image).inspect()
  } catch (error) {
    if (statusOf(error) === 404) return undefined
    if (statusOf(error) === 400) throw new ServiceError('CONFIG_INVALID', `image: ${engineText(error)}`)
    throw unavailable(error)
  }
}

const longestPauseMs = 2000

/** A registry that is away, busy or in trouble is asked again as long as the budget lasts. */
async function pull(engine: Docker, image: string, deadline: Deadline, signal?: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(Math.max(1, Math.round(deadline.leftMs())))
  const abortSignal = signal === undefined ? limit : AbortSignal.any([limit, signal])
  const since = performance.now()
  let last = ''
  for (;;) {
    try {
      return await pullOnce(engine, image, abortSignal)
    } catch (error) {
      signal?.throwIfAborted()
      if (!limit.aborted) {
        last = `: ${refusalOf(image, error)}`
        await sleepWithin(pollPauseMs(performance.now() - since, longestPauseMs), deadline, signal)
      }
      if (limit.aborted || deadline.passed) {
        throw new ServiceError('IMAGE_PULL_FAILED', `${image} was not pulled within its budget${last}`)
      }
    }
  }
}

async function pullOnce(engine: Docker, image: string, abortSignal: AbortSignal): Promise<void> {
  const named = image.includes('@') || repositoryOf(image) !== image ? image : `${image}:latest`
  const stream: NodeJS.ReadableStream = await engine.pull(named, { abortSignal })
  const over = Promise.withResolvers<void>()
  const abort = () => {
    if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy()
    over.reject(abortSignal.reason)
  }
  abortSignal.addEventListener('abort', abort)
  engine.modem.followProgress(stream, (error, events: { error?: string }[]) => {
    // What fails behind the head of the answer is told in its body.
    const told = events?.find((event) => event.error !== undefined)?.error
    if (error) over.reject(error)
    else if (told !== undefined) over.reject(new Error(told))
    else over.resolve()
  })
  await over.promise.finally(() => abortSignal.removeEventListener('abort', abort))
}

/** Words of the engine for what will be the same next time. */
const final =
  /not found|manifest unknown|no such|denied|unauthorized|authentication required|invalid reference|does not exist/i

/** What the engine says of a try that may be repeated; throws for what will be the same, and for an engine that is away. */
function refusalOf(image: string, error: unknown): string {
  const text = engineText(error)
  if (statusOf(error) === 404 || statusOf(error) === 400 || final.test(text)) {
    throw new ServiceError('IMAGE_PULL_FAILED', `${image}: ${text}`, { cause: error })
  }
  // Only connections have codes: no socket, a refusal, a reset.
  if (error instanceof Error && 'code' in error) throw unavailable(error)
  return text
}
