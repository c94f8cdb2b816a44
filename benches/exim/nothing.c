/* A library for ${dlfunc} that does nothing: what asking costs. ANSWER is its only answer. */

int greylist(char **answer, int argc, char *argv[])
{
    *answer = ANSWER;
    return 0;
}

int greylist_preload(char **answer, int argc, char *argv[])
{
    *answer = argv[0];
    return 0;
}
