/** Resolves an image to what does not move: pulled if the policy says so, then named by its digest. Starts nothing. */
import type Docker from 'dockerode'
import { ServiceError } from '../contracts/errors.ts'
import type { PlatformOf } from '../contracts/validation-serving.ts'
import type { Deadline } from '../protocols/deadline.ts'
import { type DockerSettings, engineOf, engineText, statusOf, unavailable } from './docker-engine.ts'
import type { ResolvedImage } from './runner.ts'

/**
 * Throws `IMAGE_PULL_FAILED` at once when the image is not found, denied or not to be pulled, and when the deadline
 * passes; `PLATFORM_UNAVAILABLE` for network errors, 429 and 5xx, which may be tried again.
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
  await pull(engine, image, deadline, signal)
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

async function pull(engine: Docker, image: string, deadline: Deadline, signal?: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(Math.max(1, Math.round(deadline.leftMs())))
  const abortSignal = signal === undefined ? limit : AbortSignal.any([limit, signal])
  try {
    const named = image.includes('@') || repositoryOf(image) !== image ? image : `${image}:latest`
    const stream: NodeJS.ReadableStream = await engine.pull(named, { abortSignal })
    await new Promise<void>((resolve, reject) => {
      abortSignal.addEventListener('abort', () => {
        if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy()
        reject(abortSignal.reason)
      })
      engine.modem.followProgress(stream, (error) => (error ? reject(error) : resolve()))
    })
  } catch (error) {
    signal?.throwIfAborted()
    if (limit.aborted)
      throw new ServiceError('IMAGE_PULL_FAILED', `${image} was not pulled within its budget`)
    throw pullError(image, error)
  }
}

/** Words of the engine for what will be the same next time. */
const final =
  /not found|manifest unknown|no such|denied|unauthorized|authentication required|invalid reference|does not exist/i

function pullError(image: string, error: unknown): ServiceError {
  const text = engineText(error)
  if (statusOf(error) === 404 || statusOf(error) === 400 || final.test(text)) {
    return new ServiceError('IMAGE_PULL_FAILED', `${image}: ${text}`, { cause: error })
  }
  return unavailable(error)
}
