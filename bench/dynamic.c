/* What the row of a dynamic program's exec runs. */
int main(void) {
    return 0;
}
