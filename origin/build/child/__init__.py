"""Work in a child process: native libraries abort, memory comes back when it ends, and a kill leaves nothing half done.

The builder starts `origin.build.child.worker` with a Job on its standard input and reads Messages from a pipe. When
the builder is gone, however it went, its end of the input closes and the child ends itself.
"""
