/** Opens the stream a path names (specification 5.2). Each kind of target lives in its own file; v3io is not among them. */

import { ValueError } from '../errors.ts'
import { FileStream } from './file.ts'
import { HttpStream } from './http.ts'
import { KafkaStream } from './kafka.ts'
import { PerdureStream } from './perdure.ts'
import type { StreamTarget } from './target.ts'

/** `dummy://`: keeps records in memory, for tests. */
export class DummyStream implements StreamTarget {
  readonly eventList: unknown[] = []

  push(records: unknown[]): void {
    this.eventList.push(...records)
  }
}

/**
 * A path (`dummy://`, `http(s)://…`, `file:///…`, `kafka://broker:9092/topic`,
 * `perdure://host:port`) or an object with `push`, which is
 * taken as it is. `args` are the target's own (`stream_args`). Throws `ValueError` `unsupported stream path <path>`.
 */
export function openStream(
  target: string | StreamTarget,
  args: Readonly<Record<string, unknown>> = {},
): StreamTarget {
  if (typeof target !== 'string') return target
  if (target.startsWith('dummy://')) return new DummyStream()
  if (/^https?:\/\//.test(target)) return new HttpStream(target, args)
  if (target.startsWith('file://')) return new FileStream(target)
  if (target.startsWith('kafka://')) return new KafkaStream(target, args)
  if (/^perdures?:\/\//.test(target)) return new PerdureStream(target, args)
  throw new ValueError(`unsupported stream path ${target}`)
}
