/** A module that `main.ts` serves: one model whose predict takes as long as its input says, in milliseconds. */

import { type ModelRequest, V2ModelServer } from '../../modelserver/index.ts'

export class SleepyModel extends V2ModelServer {
  override load(): void {
    if (this.modelPath === 'nowhere') throw new Error('no model at nowhere')
  }
  override async predict({ inputs = [] }: ModelRequest): Promise<unknown> {
    await new Promise((resolve) => setTimeout(resolve, Number(inputs[0])))
    return inputs
  }
}
